//! Threads that get what the others leave.

use std::{io, thread};

/// Starts a thread of the lowest priority. It is the work's own: a process that is not privileged
/// cannot raise a thread's priority again.
pub fn spawn_in_background(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        give_way();
        work();
    })
}

/// On Linux a priority is a thread's, and 0 means the calling one; elsewhere it is the process's,
/// which keeps the one it has.
#[cfg(target_os = "linux")]
fn give_way() {
    /// As `nice` counts.
    const LOWEST: libc::c_int = 19;
    // SAFETY: it takes no pointers. Lowering a priority is always allowed.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, LOWEST) };
    debug_assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    /// The 17th field after the name in parentheses, as proc(5) has it.
    fn nice_of_this_thread() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let fields = stat.rsplit(')').next().unwrap();
        fields.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn only_the_new_thread_gives_way() {
        let before = nice_of_this_thread();
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = super::spawn_in_background("test", move || {
            sender.send(nice_of_this_thread()).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), 19);
        thread.unwrap().join().unwrap();
        assert_eq!(nice_of_this_thread(), before);
    }
}
