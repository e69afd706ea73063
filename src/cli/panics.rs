//! What is said of a panic: where, never what. A message may quote a request: llguidance catches
//! panics of its own, whose messages repeat the schema.

use std::panic::{self, PanicHookInfo};
use std::thread;

/// From now on, for every thread.
pub(super) fn hide_messages() {
    panic::set_hook(Box::new(report));
}

/// A panic before the log has started, or with it filtered away, is a line for the terminal.
#[expect(clippy::print_stderr, reason = "a panic is told even where nothing else is")]
fn report(info: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(thread, place, "a thread panicked");
    } else {
        eprintln!("outcrop: the thread `{thread}` panicked at {place}");
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    /// The hook holds for a whole process, so it is put into one of its own: this test again.
    #[test]
    fn a_panic_tells_where_and_never_what() {
        const INNER: &str = "OUTCROP_TEST_PANICS";
        if env::var_os(INNER).is_some() {
            super::hide_messages();
            let caught = std::panic::catch_unwind(|| panic!("canary of {}", "a schema"));
            assert!(caught.is_err());
            return;
        }
        let test = "cli::panics::tests::a_panic_tells_where_and_never_what";
        let mut inner = Command::new(env::current_exe().expect("a test is a program"));
        let output = inner.args([test, "--exact", "--nocapture"]).env(INNER, "1").output();
        let output = output.expect("the program of the tests runs");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        assert!(said.contains("panicked at src/cli/panics.rs:"), "{said}");
        assert!(!said.contains("canary") && !said.contains("schema"), "{said}");
    }
}
