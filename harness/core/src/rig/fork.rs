//! Saving a board that is ready, and going on from there: how cases get a pristine board at once.

use tokio::sync::watch;

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
        let told = self.settling(&twin::install(self.parts.image.arch)).await?.text();
        let twin = (!told.is_empty()).then_some(told);
        if let Some(program) = &twin {
            self.stand_by(program).await?;
        }
        let kept = Kept {
            twin,
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
        self.forked = true;
        // Without a console, SSH has been logged in to already.
        self.awaits_ssh = self.parts.login.is_some();
        for what in same {
            self.journal.note(format!("a fork is not quite a board of its own: {what}"));
        }
        Ok(())
    }

    /// Whether the running case has a fork of its own: it finds nothing that another has left, and what
    /// it leaves itself is soon gone.
    pub fn is_fork(&self) -> bool {
        self.forked
    }

    /// Gives a board without power its medium as it was provisioned; whether that was possible.
    pub async fn renew(&mut self) -> Outcome<bool> {
        self.forked = false;
        self.parts.power.renew().await
    }

    /// Sets a fork's clock and gives it random numbers of its own; what of it could not be done.
    async fn become_itself(&mut self, twin: Option<&str>, seed: u64) -> Outcome<Vec<&'static str>> {
        let mut status = self.cue(&twin::own_state(seed)).await?;
        if let Some(program) = twin
            && !status.is_some_and(twin::took)
        {
            status = Some(self.settling(&twin::run(program, seed)).await?.status);
        }
        let status = status.unwrap_or(twin::NEVER_RAN);
        let (clock_stays, random_stays) = twin::stays(status);
        let mut same = Vec::new();
        if clock_stays && !self.settling(&twin::set_clock()).await?.ok() {
            same.push("its clock is that of the saved board");
        }
        if random_stays {
            same.push("its random numbers are those of its twins");
        }
        Ok(same)
    }

    /// Lets the program that makes a fork a board of its own wait on the console, if there is one and
    /// it does: without it a fork is only later.
    async fn stand_by(&mut self, program: &str) -> Outcome {
        let deadline = self.within(secs(10));
        let mut loss = self.parts.power.loss();
        let Some(login) = self.parts.login.as_mut() else { return Ok(()) };
        match unless_lost(&mut loss, login.stand_by(program, deadline)).await {
            Err(Trouble::Unmet(why)) => {
                self.journal
                    .note(format!("forks start a program each to be boards of their own: {why}"));
                // Ends what stands by after all, so that the session can be kept.
                self.settling("true").await.map(drop)
            }
            other => other,
        }
    }

    /// Gives it its line; its exit status, if it waits and ended in time.
    async fn cue(&mut self, line: &str) -> Outcome<Option<i32>> {
        let deadline = self.within(secs(10));
        let mut loss = self.parts.power.loss();
        let Some(login) = self.parts.login.as_mut() else { return Ok(None) };
        match unless_lost(&mut loss, login.cue(line, deadline)).await {
            Err(Trouble::Unmet(why)) => {
                self.journal.note(format!("a fork's own program did not take its line: {why}"));
                Ok(None)
            }
            other => other,
        }
    }

    /// Runs a command of the harness itself on the shell that is there first after a fork.
    async fn settling(&mut self, command: &str) -> Outcome<Output> {
        let deadline = self.within(secs(10));
        let mut loss = self.parts.power.loss();
        let (login, ssh) = (self.parts.login.as_mut(), self.parts.ssh.as_mut());
        let shell = login.or(ssh).ok_or_else(|| Trouble::rack("no shell on the board"))?;
        let answered = async {
            shell.open(deadline).await?;
            shell.exec(command, deadline).await
        };
        unless_lost(&mut loss, answered).await
    }
}

/// What `work` comes to, unless the rack loses the board meanwhile.
async fn unless_lost<T>(
    loss: &mut watch::Receiver<Option<Trouble>>,
    work: impl Future<Output = Outcome<T>>,
) -> Outcome<T> {
    tokio::select! {
        outcome = work => outcome,
        trouble = lost(loss) => Err(trouble),
    }
}

fn cannot() -> Trouble {
    Trouble::rack("this board cannot be forked")
}
