//! The two readers: hil's own lines and captures, and a bare epoll loop that throws away what it
//! reads, which is the least that any reader costs.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hil_console::{Capture, CaptureOptions};
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::Console;
use hil_core::stage::StageMarks;
use hil_lab::serial::ConsoleSpec;
use hil_lab::serial::tty::Tty;
use rustix::event::epoll;

use crate::Outcome;

/// The ports, up to an empty line.
fn ports() -> Outcome<Vec<String>> {
    let mut ports = Vec::new();
    loop {
        match crate::heard()? {
            empty if empty.is_empty() => return Ok(ports),
            port => ports.push(port),
        }
    }
}

/// `end BYTES`: what each port must have brought.
fn end(line: &str) -> Outcome<u64> {
    let bytes = line.strip_prefix("end ").ok_or("`end BYTES` was expected")?;
    Ok(bytes.parse()?)
}

/// As in a run: one thread, a line and a capture for each console.
pub(crate) fn hil(dir: &Path) -> Outcome {
    let ports = ports()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut captures = Vec::new();
        let clock = Clock::new();
        for (nth, port) in ports.iter().enumerate() {
            captures.push(capture(dir, nth, port, clock).await?);
        }
        println!("ready");
        let bytes =
            end(&tokio::task::spawn_blocking(|| crate::heard().map_err(|why| why.to_string()))
                .await??)?;
        while captures.iter().any(|capture| capture.position() < bytes) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("done");
        for capture in &captures {
            capture.detach(Duration::ZERO).await;
            if let Some(fault) = capture.fault() {
                return Err(fault.to_string().into());
            }
        }
        println!("written");
        crate::heard()?;
        Ok(())
    })
}

async fn capture(dir: &Path, nth: usize, port: &str, clock: Clock) -> Outcome<Arc<Capture>> {
    let line = ConsoleSpec::Tty(Tty::new(port)).open(115_200).await?;
    let marks = StageMarks {
        kernel: Some("Linux version".into()),
        ready: Some("login: $".into()),
        ..StageMarks::default()
    };
    let dir = dir.join(nth.to_string());
    let options = CaptureOptions::default();
    let capture = Capture::open(&dir, clock, &marks, Masker::default(), options)?;
    capture.attach(line.stream).await;
    Ok(capture)
}

/// Reads and counts.
pub(crate) fn bare() -> Outcome {
    let set = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut open = Vec::new();
    for (nth, port) in ports()?.iter().enumerate() {
        use rustix::fs::{Mode, OFlags};
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(port, flags, Mode::empty())?;
        epoll::add(&set, &fd, epoll::EventData::new_u64(nth as u64), epoll::EventFlags::IN)?;
        open.push((fd, 0_u64));
    }
    let stdin = u64::MAX;
    epoll::add(&set, std::io::stdin(), epoll::EventData::new_u64(stdin), epoll::EventFlags::IN)?;
    println!("ready");
    let mut wanted = None;
    let mut events = Vec::with_capacity(1024);
    while wanted.is_none_or(|wanted| open.iter().any(|(_, got)| *got < wanted)) {
        events.clear();
        epoll::wait(&set, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                nth if nth == stdin => {
                    wanted = Some(end(&crate::heard()?)?);
                    epoll::delete(&set, std::io::stdin())?;
                }
                nth => read(&mut open[nth as usize])?,
            }
        }
    }
    println!("done");
    println!("written");
    crate::heard()?;
    Ok(())
}

fn read((fd, got): &mut (OwnedFd, u64)) -> Outcome {
    let mut buffer = [0; 4096];
    match rustix::io::read(&*fd, &mut buffer) {
        Ok(n) => *got += n as u64,
        Err(rustix::io::Errno::AGAIN) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
