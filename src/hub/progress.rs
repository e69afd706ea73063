//! What a person sees of a download: one bar a file on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

const TRANSFER: &str =
    "{msg:32} {wide_bar:.cyan/dim} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>12} {eta:>5}";
const SPINNER: &str = "{spinner} {msg}";

/// A bar that counts bytes of `label`. Hidden by `indicatif` when standard error is no terminal.
pub(super) fn bytes(label: &str, total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(TRANSFER).expect("the template is a constant");
    ProgressBar::new(total).with_style(style).with_message(shortened(label))
}

/// For work whose size is unknown.
pub(super) fn spinner(label: String) -> ProgressBar {
    let style = ProgressStyle::with_template(SPINNER).expect("the template is a constant");
    let bar = ProgressBar::new_spinner().with_style(style).with_message(label);
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// The end of a file's name tells more than its beginning.
fn shortened(label: &str) -> String {
    const WIDTH: usize = 32;
    let name = label.rsplit('/').next().unwrap_or(label);
    let len = name.chars().count();
    if len <= WIDTH {
        return name.to_owned();
    }
    let tail: String = name.chars().skip(len - WIDTH + 1).collect();
    format!("…{tail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_end() {
        assert_eq!(shortened("short.gguf"), "short.gguf");
        let long = shortened("folder/DeepSeek-R1-Distill-Llama-70B-Q8_0-00001-of-00002.gguf");
        assert_eq!(long.chars().count(), 32);
        assert!(long.ends_with("Q8_0-00001-of-00002.gguf"), "{long}");
    }
}
