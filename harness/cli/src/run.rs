//! `hil run` and `hil plan`: from the words of the command line to a plan, and through it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hil_core::board::Board;
use hil_core::case::{Isolation, Suite};
use hil_core::envelope::Envelope;
use hil_core::event::Clock;
use hil_core::mask::Masker;
use hil_core::parts::CutPolicy;
use hil_core::plan::{BoardPlan, CaseId, Retries, Selection, Terms, plan_board};
use hil_core::shard::shard;
use hil_core::verdict::exit;
use hil_lab::{DriverError, Instance, Places};
use hil_qemu::catalogue::Catalogue;
use hil_report::fold::report_of_plan;
use hil_report::live::colour_on_stdout;
use hil_report::merge::differences;
use hil_report::rebuild::report_of;
use hil_report::{EventsFile, Live, Merged, Report};
use hil_run::interrupt;
use hil_run::prepare::Prepared;
use hil_run::runner::{BoardRun, Run};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::again;
use crate::args::{FlakyArg, IsolationArg, PlanArgs, PolicyArg, RunArgs, SelectArgs, Shard};
use crate::catalogue;
use crate::failure::Failure;
use crate::images::{self, Images};
use crate::lab::{self, Meant};
use crate::lanes::{self, Lane};
use crate::outdir::OutDir;
use crate::rack::both::BothRacks;
use crate::rack::lab::{LabRack, Wishes};
use crate::rack::{QemuRack, Settings};
use crate::select::Selected;
use crate::show::put;
use crate::signals;

/// All that is settled before anything is touched.
struct Resolved {
    catalogue: Catalogue,
    suites: &'static [Suite],
    boards: Vec<Arc<Board>>,
    /// Which instances of the lab may play each board.
    instances: BTreeMap<String, Vec<Instance>>,
    /// Seconds between two power-ons in the lab.
    stagger: f64,
    images: Images,
    plans: Vec<BoardPlan>,
    masker: Masker,
}

fn resolve(args: &SelectArgs) -> Result<Resolved, Failure> {
    let selected = Selected::new(args)?;
    let catalogue = catalogue::load(args.board_dir.as_deref())?;
    let lab = lab::load(args.lab.as_deref(), &catalogue)?;
    let mut boards: Vec<Arc<Board>> = Vec::new();
    let mut instances = BTreeMap::new();
    for name in &args.boards {
        let Meant { board, instances: who } = lab::meant(&catalogue, lab.as_ref(), name)?;
        let board = match &args.envelope {
            Some(envelope) => Arc::new(enveloped(envelope, &board, &catalogue)?),
            None => board,
        };
        if !boards.iter().any(|known| known.name == board.name) {
            instances.insert(board.name.clone(), who);
            boards.push(board);
        }
    }
    let manifests = images::manifests(&boards, &args.images, &instances)?;
    images::check_boots(&boards, &manifests, &catalogue)?;
    images::check_uboot(&boards, &manifests)?;
    // A view of its own: which secrets there are is known only when the manifests are read.
    let mut images = images::prepare_all(&manifests, &Live::stderr(Masker::default()))?;
    if let Some(envelope) = &args.envelope {
        images::check_fits(&images, envelope)?;
        for prepared in images.values_mut().flatten() {
            let image = Arc::new(envelope.around_image(&prepared.image));
            *prepared = Arc::new(Prepared { image, ..(**prepared).clone() });
        }
    }
    let masker = images::masker(&images, instances.values().flatten())?;
    let selection = Selection {
        suites: &selected.suites,
        wanted: &|id| selected.wants(id),
        required: &|id| selected.requires(id),
        expected: &|full| selected.expects(full),
        repeat: args.repeat,
        seed: args.seed,
        terms: terms(args),
        envelope: args.envelope,
        cuts: args.cuts,
        replay: args.replay.as_ref().map(|replay| replay.seed),
    };
    let plan = |board: &Arc<Board>| {
        let of_board: Vec<_> =
            images[&board.name].iter().map(|p| (&*p.image, p.digest.clone())).collect();
        let retries = Retries { most: args.retries, flaky_fails: args.flaky == FlakyArg::Fail };
        let rules = selected.rules.clone();
        let again = again::command(args, &board.name);
        let plan = BoardPlan { retries, rules, again, ..plan_board(board, &of_board, &selection) };
        let plan = match args.shard {
            Some(Shard { index, of }) => shard(plan, index, of),
            None => plan,
        };
        match &args.resume {
            Some(dir) => still_to_run(plan, dir),
            None => Ok(plan),
        }
    };
    let plans: Vec<BoardPlan> = boards.iter().map(plan).collect::<Result<_, Failure>>()?;
    let stagger = lab.map_or(0.0, |lab| lab.stagger_s);
    let suites = selected.all;
    Ok(Resolved { catalogue, suites, boards, instances, stagger, images, plans, masker })
}

/// The plan without what an earlier run of the board has settled, which must have been such a run.
fn still_to_run(plan: BoardPlan, earlier: &Path) -> Result<BoardPlan, Failure> {
    let dir = earlier.join(&plan.board);
    let failed = |error: String| Failure::usage(format!("--resume: failed to {error}"));
    let report = report_of(&dir).map_err(|error| failed(error.to_string()))?;
    let ours = report_of_plan(&plan, env!("HIL_VERSION"));
    let differences = differences(&[report.clone(), ours]);
    if !differences.is_empty() {
        return Err(Failure::usage(format!(
            "--resume {}: that was another run (run 1) than this one (run 2):\n  {}\nhelp: give the \
             options, images and hil of then, or run all of it again",
            earlier.display(),
            differences.join("\n  ")
        )));
    }
    let settled: BTreeSet<&CaseId> = report.settled().collect();
    Ok(plan.only(|id| !settled.contains(id)))
}

/// The board in its envelope, where its machine can be made so.
fn enveloped(envelope: &Envelope, board: &Board, catalogue: &Catalogue) -> Result<Board, Failure> {
    let machine = board.qemu.as_ref().and_then(|on| catalogue.machine(&on.machine));
    let refused = |why: String| Failure::usage(format!("--envelope {envelope}: {why}"));
    if let Some(machine) = machine.filter(|_| envelope.ram_mib.is_some())
        && machine.fixed_memory
    {
        return Err(refused(format!("`{}` always has {} MiB", board.name, machine.memory_mib)));
    }
    envelope.around(board).map_err(refused)
}

fn terms(args: &SelectArgs) -> Terms {
    let forks_as = match args.isolation {
        IsolationArg::Fork => Isolation::Fork,
        IsolationArg::Reboot => Isolation::Reboot,
        IsolationArg::Shared => Isolation::Shared,
    };
    let cut_policy = match args.cut_policy {
        PolicyArg::KeepAll => CutPolicy::KeepAll,
        PolicyArg::DropAll => CutPolicy::DropAll,
        PolicyArg::Subset => CutPolicy::Subset,
    };
    Terms { forks_as, cut_policy }
}

pub(crate) fn plan(args: &PlanArgs) -> Result<u8, Failure> {
    let resolved = resolve(&args.select)?;
    if args.json {
        put(&(serde_json::to_string_pretty(&resolved.plans).unwrap_or_default() + "\n"));
    } else {
        put(&plan_text(&resolved.plans));
    }
    Ok(code_of_plans(&resolved.plans, &args.select).unwrap_or(exit::OK))
}

fn plan_text(plans: &[BoardPlan]) -> String {
    let mut text = String::new();
    for plan in plans {
        let shard = plan.share.as_ref().map(|s| format!(", shard {}/{}", s.index, s.of));
        let envelope = plan.envelope.map(|it| format!(", envelope {it}"));
        let more = shard.into_iter().chain(envelope).collect::<String>();
        let _ = writeln!(text, "{} (seed {}{more})", plan.board, plan.seed);
        for session in &plan.sessions {
            let digest = &session.digest[..12.min(session.digest.len())];
            let _ = writeln!(text, "  {} {digest}", session.image);
            for case in &session.cases {
                let expected =
                    case.expected.as_ref().map(|why| format!("  expected to fail: {why}"));
                let _ = writeln!(text, "    {}{}", case.id, expected.unwrap_or_default());
                for cut in &case.cuts {
                    let _ = writeln!(text, "      cut at {cut} (case seed {})", case.seed);
                }
            }
        }
        for skip in &plan.skips {
            let _ = writeln!(text, "  skip {}: {}", skip.id, skip.reason);
        }
    }
    text
}

/// A plan without a single case, run or skipped, is a selection gone wrong; of a shard, or of the rest of a run, it is not.
fn code_of_plans(plans: &[BoardPlan], args: &SelectArgs) -> Option<u8> {
    let part = args.shard.is_some() || args.resume.is_some();
    let some = part || plans.iter().any(|plan| plan.cases() + plan.skips.len() > 0);
    if some { None } else { Some(exit::NOTHING_SELECTED) }
}

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
    for (board, plan) in resolved.boards.iter().zip(resolved.plans) {
        let dir = out.board(&board.name)?;
        let known = resolved.images.get(&board.name).cloned().unwrap_or_default();
        for Lane { label, dir, plan } in lanes::of(board, plan, args.lanes, &dir)? {
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
    let at_once = cores().max(args.lanes as usize);
    let jobs = args.jobs.unwrap_or_else(|| at_once.min(boards.len() - physical) + physical);
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
