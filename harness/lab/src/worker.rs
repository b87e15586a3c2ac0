//! A thread for a blocking device: calls have a deadline, and one that hangs hangs alone.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::DriverError;

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

/// A device on a thread of its own. Dropping it lets the thread end after its present call.
pub struct Worker<T> {
    jobs: mpsc::Sender<Job<T>>,
    name: String,
}

impl<T: Send + 'static> Worker<T> {
    /// `name` is for messages: `LCUS relay 2 on …`.
    pub fn start(name: String, mut device: T) -> Result<Worker<T>, DriverError> {
        let (jobs, queue) = mpsc::channel::<Job<T>>();
        let run = move || {
            while let Ok(job) = queue.recv() {
                job(&mut device);
            }
        };
        let started = thread::Builder::new().name("hil-device".into()).spawn(run);
        started.map_err(|why| DriverError::new(format!("start a thread for {name}: {why}")))?;
        Ok(Worker { jobs, name })
    }

    /// Runs `call` on the device's thread. Past `patience` it is given up; whatever it waits for
    /// goes on waiting there, and later calls wait behind it until they are given up, too.
    pub async fn call<R: Send + 'static>(
        &self,
        patience: Duration,
        call: impl FnOnce(&mut T) -> Result<R, DriverError> + Send + 'static,
    ) -> Result<R, DriverError> {
        let (answer, answered) = oneshot::channel();
        let job: Job<T> = Box::new(move |device| {
            // Whoever asked may have given up; then nobody wants the answer.
            let _ = answer.send(call(device));
        });
        let gone = || DriverError::new(format!("use {}: its driver has ended", self.name));
        self.jobs.send(job).map_err(|_| gone())?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err(DriverError::new(format!(
                "use {}: it did not answer within {} s",
                self.name,
                patience.as_secs_f32()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_device_that_hangs_holds_up_nobody_else() {
        let (hold, held) = mpsc::channel::<()>();
        let stuck = Worker::start("relay 1".into(), held).unwrap();
        let fine = Worker::start("relay 2".into(), 7).unwrap();
        let hang = stuck.call(Duration::from_millis(50), |held| {
            let _ = held.recv();
            Ok(())
        });
        let error = hang.await.unwrap_err().to_string();
        assert!(error.contains("relay 1") && error.contains("did not answer"), "{error}");
        let answer = fine.call(Duration::from_secs(20), |n| Ok(*n)).await.unwrap();
        assert_eq!(answer, 7);
        drop(hold);
    }
}
