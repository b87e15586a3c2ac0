//! Saving a board that is ready, and going on from there: how cases get a pristine board at once.

use super::{Rig, lost, twin};
use crate::deadline::secs;
use crate::event::What;
use crate::parts::{Kept, Output};
use crate::trouble::{Outcome, Trouble};

impl Rig {
    /// Whether this board can be saved while it runs.
    pub fn can_fork(&mut self) -> bool {
        self.parts.power.forks().is_some()
    }

    /// Whether there is a saved board to fork from. Otherwise this rig is the one to save it, and
    /// others of the run that want it wait until it has, or is gone.
    pub async fn claim_saved(&mut self) -> bool {
        match self.parts.power.forks() {
            Some(forks) => forks.claim().await,
            None => false,
        }
    }

    /// Saves the board as it runs, for [`Rig::fork`]. It is off afterwards.
    pub async fn save(&mut self) -> Outcome {
        let told = self.settling(&twin::install(self.parts.image.arch), false).await?.text();
        let kept = Kept {
            twin: (!told.is_empty()).then_some(told),
            boot_times: self.boot_times.clone(),
            login: self.parts.login.as_ref().and_then(|shell| shell.keep()),
            ssh: self.parts.ssh.as_ref().and_then(|shell| shell.keep()),
            ssh_server: self.ssh_server.clone(),
        };
        let begun = self.journal.clock().now();
        let forks = self.parts.power.forks().ok_or_else(cannot)?;
        let how = forks.label();
        forks.save(kept).await?;
        let took = (self.journal.clock().now() - begun).as_secs_f64();
        self.journal.record(What::Saved { how, took });
        Ok(())
    }

    /// Forgets what was saved, which proved to be of no use, or the claim to save it.
    pub fn discard_saved(&mut self) {
        if let Some(forks) = self.parts.power.forks() {
            forks.discard();
        }
    }

    /// Goes on from the saved board, as a twin with a clock and, by `seed`, random numbers of its
    /// own. What the board was before is gone.
    pub async fn fork(&mut self, seed: u64) -> Outcome {
        let clock = self.journal.clock();
        let begun = clock.now();
        let sighted = self.parts.console.sightings();
        let forks = self.parts.power.forks().ok_or_else(cannot)?;
        let kept = forks.saved().ok_or_else(cannot)?;
        forks.fork().await?;
        let running = (clock.now() - begun).as_secs_f64();
        self.begin_boot(sighted);
        self.powered_position = self.parts.console.position();
        self.boot_times = kept.boot_times;
        self.ssh_server = kept.ssh_server;
        let shells = [(&mut self.parts.login, kept.login), (&mut self.parts.ssh, kept.ssh)];
        for (shell, kept) in shells {
            shell.iter_mut().for_each(|shell| shell.recall(kept.as_deref()));
        }
        let same = self.become_itself(kept.twin.as_deref(), seed).await?;
        let answered = (clock.now() - begun).as_secs_f64();
        self.journal.record(What::Forked { running, answered });
        // Without a console, SSH has been logged in to already.
        self.awaits_ssh = self.parts.login.is_some();
        for what in same {
            self.journal.note(format!("a fork is not quite a board of its own: {what}"));
        }
        Ok(())
    }

    /// Gives a board without power its medium as it was provisioned; whether that was possible.
    pub async fn renew(&mut self) -> Outcome<bool> {
        self.parts.power.renew().await
    }

    /// Sets a fork's clock and gives it random numbers of its own; what of it could not be done.
    async fn become_itself(&mut self, twin: Option<&str>, seed: u64) -> Outcome<Vec<&'static str>> {
        let (clock_stays, random_stays) = match twin {
            Some(program) => {
                let command = format!("{program} {}", twin::own_state(seed));
                twin::stays(self.settling(&command, true).await?.status)
            }
            None => (true, true),
        };
        let mut same = Vec::new();
        if clock_stays && !self.settling(&twin::set_clock(), false).await?.ok() {
            same.push("its clock is that of the saved board");
        }
        if random_stays {
            same.push("its random numbers are those of its twins");
        }
        Ok(same)
    }

    /// Runs a command of the harness itself, `bare` or not, on the shell that is there first after a
    /// fork.
    async fn settling(&mut self, command: &str, bare: bool) -> Outcome<Output> {
        let deadline = self.within(secs(10));
        let mut loss = self.parts.power.loss();
        let (login, ssh) = (self.parts.login.as_mut(), self.parts.ssh.as_mut());
        let shell = login.or(ssh).ok_or_else(|| Trouble::rack("no shell on the board"))?;
        let answered = async {
            shell.open(deadline).await?;
            match bare {
                true => shell.exec_bare(command, deadline).await,
                false => shell.exec(command, deadline).await,
            }
        };
        tokio::select! {
            output = answered => output,
            trouble = lost(&mut loss) => Err(trouble),
        }
    }
}

fn cannot() -> Trouble {
    Trouble::rack("this board cannot be forked")
}
