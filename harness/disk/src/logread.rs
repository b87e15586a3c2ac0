//! Reads a write log back, record by record. What the records imply about crash states is not
//! worked out here.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::log::{Kind, LogEvent, MAGIC, RECORD, Record, VERSION};

/// A mark longer than this is a damaged log, not a mark.
const LONGEST_MARK: u64 = 1 << 20;

/// An iterator over a log's records. It ends at the first error.
#[derive(Debug)]
pub struct LogReader {
    file: BufReader<File>,
    path: PathBuf,
    truncated: bool,
    done: bool,
}

impl LogReader {
    /// Opens a log and checks that it is one.
    pub fn open(path: impl AsRef<Path>) -> Result<LogReader, Error> {
        let path = path.as_ref().to_owned();
        let file = File::open(&path).map_err(|source| Error::Open {
            what: "write log",
            path: path.clone(),
            source,
        })?;
        let mut reader =
            LogReader { file: BufReader::new(file), path, truncated: false, done: false };
        let mut head = [0; 16];
        reader.file.read_exact(&mut head).map_err(|e| reader.fail(e.to_string()))?;
        if &head[..12] != MAGIC {
            return Err(reader.fail("it is not a write log of hil".into()));
        }
        let version = number(&head[12..]);
        if version != u64::from(VERSION) {
            let why = format!("its version is {version}, this hil reads version {VERSION}");
            return Err(reader.fail(why));
        }
        Ok(reader)
    }

    /// Whether the log ended within a record, as it does when its writer was killed.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    fn fail(&self, why: String) -> Error {
        Error::Log { path: self.path.clone(), why }
    }

    fn record(&mut self) -> Result<Option<Record>, Error> {
        let mut raw = [0; RECORD];
        if !self.fill(&mut raw)? {
            return Ok(None);
        }
        let mut record = decode(&raw).map_err(|why| self.fail(why))?;
        if record.event == LogEvent::Mark {
            if record.len > LONGEST_MARK {
                return Err(self.fail(format!("a mark of {} bytes", record.len)));
            }
            let mut text = vec![0; record.len as usize];
            if !self.fill(&mut text)? {
                self.truncated = true;
                return Ok(None);
            }
            record.text = String::from_utf8_lossy(&text).into_owned();
        }
        Ok(Some(record))
    }

    /// Fills `buf`, or says that the log ends before that.
    fn fill(&mut self, buf: &mut [u8]) -> Result<bool, Error> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read(&mut buf[done..]) {
                Ok(0) => {
                    self.truncated |= done > 0;
                    return Ok(false);
                }
                Ok(count) => done += count,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.io(&e)),
            }
        }
        Ok(true)
    }

    fn io(&self, error: &io::Error) -> Error {
        self.fail(error.to_string())
    }
}

impl Iterator for LogReader {
    type Item = Result<Record, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.record().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn decode(raw: &[u8; RECORD]) -> Result<Record, String> {
    let event = match raw[0] {
        1 => LogEvent::Submitted,
        2 => LogEvent::Replied,
        3 => LogEvent::Mark,
        4 => LogEvent::Fate,
        5 => LogEvent::Cut,
        other => return Err(format!("unknown event {other}")),
    };
    let kind = match raw[1] {
        0 => None,
        1 => Some(Kind::Write),
        2 => Some(Kind::Zeroes),
        3 => Some(Kind::Trim),
        4 => Some(Kind::Flush),
        other => return Err(format!("unknown request {other}")),
    };
    let mut record = Record::new(event, kind, number(&raw[8..16]));
    record.fua = raw[2] & 1 != 0;
    record.no_hole = raw[2] & 2 != 0;
    record.failed = raw[2] & 4 != 0;
    record.old_or_zero = raw[2] & 8 != 0;
    record.disk = number(&raw[4..8]) as u32;
    record.time = number(&raw[16..24]);
    record.offset = number(&raw[24..32]);
    record.len = number(&raw[32..40]);
    record.at = number(&raw[40..48]);
    Ok(record)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::WriteLog;

    #[test]
    fn records_come_back_and_a_torn_end_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.log");
        let log = WriteLog::create(&path).unwrap();
        let mut write = Record::new(LogEvent::Submitted, Some(Kind::Write), 7);
        (write.fua, write.old_or_zero) = (true, true);
        write.disk = 3;
        (write.offset, write.len, write.at) = (1 << 40, 4096, 512);
        let mut mark = Record::new(LogEvent::Mark, None, 0);
        mark.text = "row 17 committed ✓".into();
        mark.len = mark.text.len() as u64;
        log.append(write.clone()).unwrap();
        log.append(mark.clone()).unwrap();
        let mut read: Vec<Record> = LogReader::open(&path).unwrap().map(Result::unwrap).collect();
        assert!(read[0].time <= read[1].time);
        read.iter_mut().for_each(|record| record.time = 0);
        assert_eq!(read, [write, mark]);

        let whole = std::fs::read(&path).unwrap();
        for end in [20, 16 + RECORD, 16 + RECORD + 9, whole.len() - 1] {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut reader = LogReader::open(&path).unwrap();
            let count = reader.by_ref().map(Result::unwrap).count();
            assert_eq!(count, (end - 16) / RECORD - usize::from(end == whole.len() - 1));
            assert_eq!(reader.truncated(), end != 16 + RECORD, "{end}");
        }
        assert!(WriteLog::create(&path).is_err(), "a log is never overwritten");
        std::fs::write(&path, b"hil-disk-log\x02\0\0\0").unwrap();
        assert!(LogReader::open(&path).unwrap_err().to_string().contains("version is 2"));
    }
}
