//! `hil lab check`: tries every board that nobody holds, puts what is broken into quarantine, and
//! lifts it from what is well again. What is tried of one board is `trial`'s.

use std::sync::Arc;
use std::time::Duration;

use hil_core::verdict::exit;
use hil_lab::keeper::Answer;
use hil_lab::lock::Holder;
use hil_lab::{Instance, KeeperLink, Places, quarantine};
use tokio::task::JoinSet;

use super::args::CheckArgs;
use super::command::{Bench, failed};
use super::trial::{Findings, Trial};
use super::{command_line, me};
use crate::failure::Failure;
use crate::rack::lab::{ask_for, release, start_keeper};
use crate::rack::run_id;
use crate::show::put;

/// All that one board's check needs, so that it needs no other's.
struct Job {
    trial: Trial,
    places: Places,
    link: Arc<KeeperLink>,
    holder: Holder,
}

/// How a board was found.
enum Found {
    Well(Findings),
    Held(String),
    Broken(Findings),
}

pub(super) async fn check(bench: &Bench, args: &CheckArgs) -> Result<u8, Failure> {
    let instances = bench.instances(&args.instances)?;
    let run = run_id();
    let link = Arc::new(start_keeper(&run).map_err(failed)?);
    let mut checking = JoinSet::new();
    for instance in instances {
        let job = Job {
            trial: Trial {
                board: bench.board(&instance)?,
                instance: instance.clone(),
                stagger: Duration::from_secs_f64(bench.lab.stagger_s),
                run: run.clone(),
            },
            places: bench.places.clone(),
            link: link.clone(),
            holder: me(command_line(), false),
        };
        checking.spawn(async move { (instance, job.run().await) });
    }
    let mut code = exit::OK;
    while let Some(done) = checking.join_next().await {
        let (instance, found) =
            done.map_err(|error| Failure::host(format!("a check broke off: {error}")))?;
        // Told as each is known: one that hangs must not hold back the others' results.
        put(&words(&instance, &found));
        if matches!(found, Found::Broken(_)) {
            code = exit::BROKEN;
        }
    }
    Ok(code)
}

impl Job {
    async fn run(self) -> Found {
        let instance = &self.trial.instance;
        let mut findings = Findings::default();
        match ask_for(&self.link, instance, &self.holder).await {
            Ok(Answer::Held { left_by }) => {
                findings.notes.extend(left_by.map(|holder| format!("{holder} died holding it")));
            }
            Ok(Answer::Busy { holder }) => {
                return Found::Held(holder.map_or("somebody".into(), |it| it.to_string()));
            }
            Ok(Answer::Failed { why }) => findings.wrong.push(why),
            Ok(Answer::Released) => findings.wrong.push("the lab's keeper let go of it".into()),
            Err(error) => findings.wrong.push(format!("failed to {error}")),
        }
        if findings.wrong.is_empty() {
            self.trial.run(&mut findings).await;
            // Before it is free: no run may take it in between.
            self.note(&mut findings);
            self.let_go(&mut findings).await;
        }
        if findings.wrong.is_empty() { Found::Well(findings) } else { Found::Broken(findings) }
    }

    async fn let_go(&self, findings: &mut Findings) {
        if let Err(trouble) = release(&self.link, &self.trial.instance.name).await {
            findings.wrong.push(trouble.to_string());
            self.note(findings);
        }
    }

    /// Writes or lifts the quarantine.
    fn note(&self, findings: &mut Findings) {
        let name = &self.trial.instance.name;
        let noted = match findings.wrong.is_empty() {
            true => quarantine::lift(&self.places, name),
            false => {
                let why = findings.wrong.join("; ");
                quarantine::put(&self.places, name, why, &self.holder).map(|()| false)
            }
        };
        match noted {
            Ok(true) => findings.notes.push("its quarantine is lifted".into()),
            Ok(false) => {}
            Err(why) => findings.wrong.push(format!(
                "failed to note the quarantine of {name} in {}: {why}",
                self.places.state.display()
            )),
        }
    }
}

fn words(instance: &Instance, found: &Found) -> String {
    let name = &instance.name;
    let listed =
        |lines: &[String]| lines.iter().map(|line| format!("        {line}\n")).collect::<String>();
    match found {
        Found::Held(who) => format!("held    {name}: not checked: held by {who}\n"),
        Found::Well(findings) => format!("ok      {name}\n{}", listed(&findings.notes)),
        Found::Broken(findings) => format!(
            "broken  {name}: in quarantine\n{}{}",
            listed(&findings.wrong),
            listed(&findings.notes)
        ),
    }
}
