//! The current date, for templates that tell the model what day it is.

use minijinja::{Error, ErrorKind};
use time::{OffsetDateTime, format_description::parse_strftime_owned};

/// `strftime_now(format)`, in UTC: servers have no other time zone in common.
pub(super) fn strftime_now(format: &str) -> Result<String, Error> {
    write(OffsetDateTime::now_utc(), format)
}

fn write(time: OffsetDateTime, format: &str) -> Result<String, Error> {
    let refuse = |reason: String| Error::new(ErrorKind::InvalidOperation, reason);
    let format = parse_strftime_owned(format).map_err(|error| refuse(error.to_string()))?;
    time.format(&format).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_as_llama_templates_ask_for_it() {
        let new_year = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        assert_eq!(write(new_year, "%d %b %Y").unwrap(), "01 Jan 2026");
        assert_eq!(write(new_year, "%Y-%m-%d %H:%M").unwrap(), "2026-01-01 00:00");
        assert!(write(new_year, "%?").is_err());
    }
}
