//! Where messages for the operator go: the engine's log function, else standard error.

use std::fmt;
use std::io::Write;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result, Status};

/// Severity of a message, as the C API numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something works, but not as asked for.
    Warn = 2,
    /// A fact about how the store runs.
    Info = 3,
    /// Detail for the developers.
    Debug = 4,
}

impl Level {
    /// Its name in lines of text.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "ERROR",
            Level::Warn => "WARN",
            Level::Info => "INFO",
            Level::Debug => "DEBUG",
        }
    }
}

/// One message, with what belongs to it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When it was sent.
    pub time: SystemTime,
    /// How severe it is.
    pub level: Level,
    /// The message, in one line.
    pub message: &'a str,
}

/// Receives every message at or above the logger's level.
pub type Sink = dyn Fn(&Record<'_>) + Send + Sync;

/// A cheap handle on the store's log.
#[derive(Clone)]
pub struct Logger {
    sink: Arc<Sink>,
    level_max: Option<Level>,
}

/// Environment variable that names the level: `off`, `error`, `warn`, `info`, `debug`.
pub const LEVEL_VARIABLE: &str = "NIXL_STORE_LOG";
/// What the variable may say.
const LEVELS: [(&str, Option<Level>); 5] = [
    ("off", None),
    ("error", Some(Level::Error)),
    ("warn", Some(Level::Warn)),
    ("info", Some(Level::Info)),
    ("debug", Some(Level::Debug)),
];

impl Logger {
    /// Messages to `sink`, up to `level_max` (`None`: nothing).
    pub fn new(sink: Arc<Sink>, level_max: Option<Level>) -> Logger {
        Logger { sink, level_max }
    }

    /// For those who want no messages.
    pub fn silent() -> Logger {
        Logger::new(Arc::new(|_| {}), None)
    }

    /// Messages to standard error, a line each: `2026-01-31T23:59:59.123456Z nixl_store WARN: message`.
    pub fn to_stderr(level_max: Option<Level>) -> Logger {
        let sink = |record: &Record<'_>| {
            let (time, level, message) = (Utc(record.time), record.level.name(), record.message);
            write_to_stderr(&format!("{time:.6} nixl_store {level}: {message}\n"));
        };
        Logger::new(Arc::new(sink), level_max)
    }

    /// Sends one message; formatting is skipped when nobody listens.
    pub fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if self.level_max.is_some_and(|max| level <= max) {
            let time = SystemTime::now();
            (self.sink)(&Record { time, level, message: &message.to_string() });
        }
    }

    /// Sends an error.
    pub fn error(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Error, message);
    }

    /// Sends a warning.
    pub fn warn(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Warn, message);
    }

    /// Sends a fact.
    pub fn info(&self, message: fmt::Arguments<'_>) {
        self.log(Level::Info, message);
    }
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("level_max", &self.level_max).finish_non_exhaustive()
    }
}

/// Writes a line past std's lock of standard error: a child that is forked while another thread has it has it for ever, and
/// may open a store of its own, with something to say.
fn write_to_stderr(line: &str) {
    // Nobody is left to hear of an error.
    let _ = match std::io::stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => std::fs::File::from(descriptor).write_all(line.as_bytes()),
        // No descriptor to spare.
        Err(_) => std::io::stderr().write_all(line.as_bytes()),
    };
}

/// The least severe level that [`LEVEL_VARIABLE`] wants; `default` where it is not set, or empty.
///
/// # Errors
/// [`Status::Config`] if it is no level: whoever asks for more messages is to learn why none come.
pub fn level_from_environment(
    environment: &dyn Fn(&str) -> Option<String>,
    default: Level,
) -> Result<Option<Level>> {
    let Some(value) = environment(LEVEL_VARIABLE).filter(|value| !value.is_empty()) else {
        return Ok(Some(default));
    };
    let known = LEVELS.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
    known.map(|(_, level)| *level).ok_or_else(|| {
        let allowed = LEVELS.map(|(name, _)| name).join(", ");
        Error::new(Status::Config, format!("${LEVEL_VARIABLE} is {value:?}; allowed: {allowed}"))
    })
}

/// A time as RFC 3339 writes it, in UTC: to the second, or with `{:.6}` to the microsecond.
#[derive(Clone, Copy, Debug)]
pub struct Utc(pub SystemTime);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DAY_SECONDS: u64 = 86_400;
        // Clocks before 1970 are set wrong; what they say is of no use.
        let since_1970 = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (days, second) = (since_1970.as_secs() / DAY_SECONDS, since_1970.as_secs() % DAY_SECONDS);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if f.precision().is_some() {
            write!(f, ".{:06}", since_1970.subsec_micros())?;
        }
        f.write_str("Z")
    }
}

/// Year, month and day, so many days after the first of January 1970.
///
/// Years are counted from March on, so that the day that comes every fourth year is a year's last one.
fn date(days: u64) -> (u64, u64, u64) {
    // Days from the first of March of the year 0 to 1970, and of 400, 100, 4 years and one.
    const TO_1970: u64 = 719_468;
    const ERA: u64 = 146_097;
    const CENTURY: u64 = 36_524;
    const FOUR_YEARS: u64 = 1_461;
    const YEAR: u64 = 365;
    let days = days + TO_1970;
    let (era, day_of_era) = (days / ERA, days % ERA);
    let century = (day_of_era / CENTURY).min(3);
    let day_of_century = day_of_era - century * CENTURY;
    let (fours, day_of_fours) = (day_of_century / FOUR_YEARS, day_of_century % FOUR_YEARS);
    let year_of_fours = (day_of_fours / YEAR).min(3);
    let day_of_year = day_of_fours - year_of_fours * YEAR;
    let year = era * 400 + century * 100 + fours * 4 + year_of_fours;
    // From March on, five months have 153 days, again and again.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    if month_from_march < 10 {
        (year, month_from_march + 3, day)
    } else {
        (year + 1, month_from_march - 9, day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_709_164_800, "2024-02-29T00:00:00"),
            (1_767_225_599, "2025-12-31T23:59:59"),
            (1_767_225_600, "2026-01-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (253_402_300_799, "9999-12-31T23:59:59"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, 1_234_567);
            assert_eq!(format!("{:.6}", Utc(time)), format!("{text}.001234Z"));
            assert_eq!(Utc(time).to_string(), format!("{text}Z"));
        }
        assert_eq!(Utc(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn days_follow_one_another() {
        let (mut year, mut month, mut day) = date(0);
        for days in 1..200_000 {
            let next = date(days);
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match (month, day) {
                (12, 31) => (year + 1, 1, 1),
                _ if day == length => (year, month + 1, 1),
                _ => (year, month, day + 1),
            };
            assert_eq!(next, expected);
            (year, month, day) = next;
        }
    }

    #[test]
    fn the_variable_names_a_level_or_is_refused() {
        let level = |value: Option<&str>| level_from_environment(&|_| value.map(str::to_owned), Level::Info);
        for value in [None, Some("")] {
            assert_eq!(level(value).unwrap(), Some(Level::Info));
        }
        assert_eq!(level(Some("off")).unwrap(), None);
        assert_eq!(level(Some("Debug")).unwrap(), Some(Level::Debug));
        for wrong in ["verbose", "warning", "2", "debug ", "nixl_store=debug"] {
            let error = level(Some(wrong)).unwrap_err();
            assert_eq!(error.status(), Status::Config);
            let text = format!("$NIXL_STORE_LOG is {wrong:?}; allowed: off, error, warn, info, debug");
            assert_eq!(error.message(), text);
        }
    }
}
