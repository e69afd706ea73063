//! Progress of local work, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over bytes that goes when the work is done.
pub(super) fn bytes(label: &'static str, total: u64) -> ProgressBar {
    let template = "{msg:12} {wide_bar:.cyan/dim} {bytes:>11}/{total_bytes:11} {eta:>5}";
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::new(total).with_style(style).with_message(label)
}
