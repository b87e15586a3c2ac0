//! `hil run`: through a plan to its reports.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hil_core::case::Suite;
use hil_core::event::Clock;
use hil_core::verdict::exit;
use hil_lab::{DriverError, Places};
use hil_qemu::catalogue::Catalogue;
use hil_report::live::colour_on_stdout;
use hil_report::rebuild::report_of;
use hil_report::{EventsFile, Live, Merged, Report};
use hil_run::interrupt;
use hil_run::runner::{BoardRun, Run};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::RunArgs;
use crate::failure::Failure;
use crate::lab;
use crate::lanes::{self, Lane};
use crate::outdir::OutDir;
use crate::plan::{code_of_plans, plan_text, resolve};
use crate::rack::both::BothRacks;
use crate::rack::lab::{LabRack, Wishes};
use crate::rack::{self, QemuRack, Settings};
use crate::show::put;
use crate::signals;

pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let (clock, started) = (Clock::new(), OffsetDateTime::now_utc());
    let resolved = resolve(&args.select)?;
    if let Some(code) = code_of_plans(&resolved.plans, &args.select) {
        return Err(Failure {
            code,
            message: "the selection holds no case; see `hil suites`".into(),
        });
    }
    if args.select.replay.is_some() {
        put(&plan_text(&resolved.plans));
    }
    let out = OutDir::claim(&args.out)?;
    let live = Arc::new(Live::stderr(resolved.masker.clone()));
    let mut files = Vec::new();
    let mut boards = Vec::new();
    let mut dirs = Vec::new();
    let may_be_saved = !args.fresh && args.select.envelope.is_none();
    let saved = |digest: &str| may_be_saved && rack::likely_saved(digest);
    for (board, plan) in resolved.boards.iter().zip(resolved.plans) {
        let dir = out.board(&board.name)?;
        let known = resolved.images.get(&board.name).cloned().unwrap_or_default();
        for Lane { label, dir, plan } in
            lanes::of(board, plan, (args.lanes, resolved.suites), (&known, saved), &dir)?
        {
            let events = EventsFile::create(&dir, resolved.masker.clone()).map_err(|error| {
                Failure::host(format!("failed to write {}: {error}", dir.display()))
            })?;
            let events = Arc::new(events);
            files.push((events.clone(), dir.clone()));
            boards.push(BoardRun {
                board: board.clone(),
                label,
                plan,
                images: known.iter().map(|p| (p.digest.clone(), p.clone())).collect(),
                dir,
                sinks: vec![events, live.clone()],
                masker: resolved.masker.clone(),
            });
        }
        dirs.push(dir);
    }
    let physical = boards.iter().filter(|run| !run.board.is_emulated()).count();
    // A physical board costs this host next to nothing.
    let jobs = args.jobs.unwrap_or_else(|| cores().min(boards.len() - physical) + physical);
    let started = started.format(&Rfc3339).unwrap_or_default();
    let part = args.select.shard.is_some() || args.select.resume.is_some();
    let nothing_to_run = !part && boards.iter().all(|board| board.plan.cases() == 0);
    let lab = (physical > 0).then(|| Wishes {
        wait: Duration::from_secs(args.wait),
        holder: lab::me(lab::command_line(), false),
        instances: resolved.instances,
        stagger: Duration::from_secs_f64(resolved.stagger),
    });
    let racks = (resolved.catalogue, lab);
    let defect =
        drive(args, racks, (resolved.suites, boards), jobs, (clock, started), live.clone())?;
    drop(live);
    let fault = files.iter().find_map(|(file, dir)| {
        file.fault().map(|why| format!("failed to write the events in {}: {why}", dir.display()))
    });
    let code = finish(&args.out, &dirs);
    match (defect, fault) {
        (Some(defect), _) => Err(Failure {
            code: exit::INTERNAL,
            message: format!("a defect of hil itself, please report it: {defect}"),
        }),
        // A failed case stays a failed case, however little could be written.
        (None, Some(fault)) if code != exit::FAILED => Err(Failure::host(fault)),
        (None, None) if code == exit::OK && nothing_to_run => Err(Failure {
            code: exit::NOTHING_SELECTED,
            message: "no case could run here; the reasons are above".into(),
        }),
        _ => Ok(code),
    }
}

/// Runs it all; what hil's own code broke, if anything.
fn drive(
    args: &RunArgs,
    (catalogue, lab): (Catalogue, Option<Wishes>),
    (suites, boards): (&'static [Suite], Vec<BoardRun>),
    jobs: usize,
    (clock, started): (Clock, String),
    live: Arc<Live>,
) -> Result<Option<String>, Failure> {
    let settings = Settings {
        accel: args.accel,
        write_log: args.write_log,
        keep: args.keep,
        fresh: args.fresh,
        enveloped: args.select.envelope.is_some(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build()
        .map_err(|error| Failure::host(format!("failed to start the runtime: {error}")))?;
    let rack = Arc::new(racks(catalogue, settings, lab, &boards, clock)?);
    let run = |rack| Run {
        rack,
        suites,
        boards,
        jobs,
        keep: args.keep,
        kept: Arc::new(move |board: &str, how: &[String]| say_kept(&live, board, how)),
        clock,
        hil: env!("HIL_VERSION").into(),
        started,
        host: host(),
    };
    let (interrupter, interrupt) = interrupt::pair();
    let ended = runtime.block_on(async {
        tokio::spawn(signals::listen(interrupter));
        run(rack.clone()).go(interrupt).await
    });
    // The keeper is dismissed only when every emulator is gone.
    drop(runtime);
    Ok(ended.err())
}

/// The racks that the boards need; a rack that none needs is not set up.
fn racks(
    catalogue: Catalogue,
    settings: Settings,
    lab: Option<Wishes>,
    boards: &[BoardRun],
    clock: Clock,
) -> Result<BothRacks, Failure> {
    let emulated = boards.iter().any(|run| run.board.is_emulated());
    let host = |trouble: DriverError| Failure::host(format!("failed to {trouble}"));
    let lab = match lab {
        Some(wishes) => {
            let places = Places::of_host().map_err(host)?;
            Some(LabRack::new(wishes, places, clock).map_err(Failure::host)?)
        }
        None => None,
    };
    let emulators = match emulated {
        true => Some(QemuRack::new(catalogue, settings, clock)?),
        false => None,
    };
    Ok(BothRacks { emulators, lab })
}

fn say_kept(live: &Live, board: &str, how: &[String]) {
    live.print(&format!("{board} failed and is kept alive. Ctrl-C ends it."));
    for line in how {
        live.print(&format!("  {line}"));
    }
}

/// Makes the reports from the events on disk, shows the table, and says how it ended.
pub(crate) fn finish(out: &Path, dirs: &[PathBuf]) -> u8 {
    let rebuilt = hil_report::rebuild(out);
    let reports: Vec<Report> = match &rebuilt {
        Ok(rebuilt) => rebuilt.reports.clone(),
        // What cannot be written can still be shown.
        Err(_) => dirs.iter().filter_map(|dir| report_of(dir).ok()).collect(),
    };
    put(&format!("\n{}", hil_report::table(&reports, colour_on_stdout())));
    in_github(&reports);
    let code = Merged::new(&reports).exit_code();
    match rebuilt {
        Ok(_) => {
            put(&format!("\n{}\n", out.join("junit.xml").display()));
            code
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "hil: failed to {error}");
            if code == exit::FAILED { code } else { exit::BROKEN }
        }
    }
}

/// In GitHub Actions: a step summary, and annotations on stdout.
fn in_github(reports: &[Report]) {
    if std::env::var_os("GITHUB_ACTIONS").is_none() {
        return;
    }
    put(&hil_report::annotations(reports));
    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY") {
        let file = fs::OpenOptions::new().append(true).create(true).open(path);
        let text = hil_report::github_summary(reports);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        if let Err(error) = written {
            let _ = writeln!(std::io::stderr(), "hil: the step summary was not written: {error}");
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn host() -> String {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    format!("{} ({} {})", text(name.nodename()), text(name.sysname()), text(name.release()))
}
