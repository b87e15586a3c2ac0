//! `hil plan`, and what `hil run` begins with: from the words of the command line to a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use hil_core::board::Board;
use hil_core::case::{Isolation, Suite};
use hil_core::envelope::Envelope;
use hil_core::mask::Masker;
use hil_core::parts::CutPolicy;
use hil_core::plan::{BoardPlan, CaseId, Retries, Selection, Terms, plan_board};
use hil_core::shard::shard;
use hil_core::verdict::exit;
use hil_lab::Instance;
use hil_qemu::catalogue::Catalogue;
use hil_report::Live;
use hil_report::fold::report_of_plan;
use hil_report::merge::differences;
use hil_report::rebuild::report_of;
use hil_run::prepare::Prepared;

use crate::again;
use crate::args::{FlakyArg, IsolationArg, PlanArgs, PolicyArg, SelectArgs, Shard};
use crate::catalogue;
use crate::failure::Failure;
use crate::images::{self, Images};
use crate::lab::{self, Meant};
use crate::select::Selected;
use crate::show::put;

/// All that is settled before anything is touched.
pub(crate) struct Resolved {
    pub(crate) catalogue: Catalogue,
    pub(crate) suites: &'static [Suite],
    pub(crate) boards: Vec<Arc<Board>>,
    /// Which instances of the lab may play each board.
    pub(crate) instances: BTreeMap<String, Vec<Instance>>,
    /// Seconds between two power-ons in the lab.
    pub(crate) stagger: f64,
    pub(crate) images: Images,
    pub(crate) plans: Vec<BoardPlan>,
    pub(crate) masker: Masker,
}

pub(crate) fn resolve(args: &SelectArgs) -> Result<Resolved, Failure> {
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

pub(crate) fn plan_text(plans: &[BoardPlan]) -> String {
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

/// A plan without a single case, run or skipped, is a selection gone wrong; of a shard, or of the rest
/// of a run, it is not.
pub(crate) fn code_of_plans(plans: &[BoardPlan], args: &SelectArgs) -> Option<u8> {
    let part = args.shard.is_some() || args.resume.is_some();
    let some = part || plans.iter().any(|plan| plan.cases() + plan.skips.len() > 0);
    if some { None } else { Some(exit::NOTHING_SELECTED) }
}
