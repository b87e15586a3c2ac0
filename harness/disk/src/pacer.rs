//! When replies are sent: at once, after a seeded delay that also reorders them, or held until told.
//! With instant replies almost nothing is ever in flight, and a cut in flight is never seen. Reads
//! are not paced; what completing a request means is the session's.

use std::collections::BTreeMap;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::conn::Out;
use crate::rng::Rng;
use crate::session::{Refused, Ticket};

/// Replies that may wait. QEMU has 16 requests in flight; a client beyond this is made to wait.
const MOST: usize = 1024;

/// How long replies to writes, write-zeroes, trims and flushes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replies {
    #[default]
    Immediate,
    /// Each takes a time drawn from `min..=max`; a later one may overtake.
    Delayed { min: Duration, max: Duration, seed: u64 },
}

/// In which order held replies go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Submitted,
    Reversed,
    Shuffled(u64),
}

/// A reply that is due some time.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) out: Arc<Out>,
    pub(crate) cookie: u64,
    pub(crate) ticket: Ticket,
}

impl Reply {
    /// Completes the request and sends the reply, unless the disk is frozen.
    fn deliver(self) {
        let result = self.ticket.finish();
        if result == Err(Refused::Frozen) {
            return;
        }
        if self.out.simple(self.cookie, result).is_err() {
            // The reader of this connection then sees its end, too.
            self.out.close(Shutdown::Both);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Pacer {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug)]
struct Inner {
    policy: Replies,
    rng: Rng,
    held: Option<Vec<Reply>>,
    /// By due time, then by arrival.
    queue: BTreeMap<(Instant, u64), Reply>,
    arrivals: u64,
    stopped: bool,
}

impl Pacer {
    pub(crate) fn new(policy: Replies) -> Pacer {
        let inner = Inner {
            policy,
            rng: seeded(policy),
            held: None,
            queue: BTreeMap::new(),
            arrivals: 0,
            stopped: false,
        };
        Pacer { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, policy: Replies) {
        let mut inner = self.lock();
        inner.policy = policy;
        inner.rng = seeded(policy);
    }

    pub(crate) fn hold(&self) {
        self.lock().held.get_or_insert_default();
    }

    /// Lets held replies go, and holds no more.
    pub(crate) fn release(&self, order: Order) {
        let mut inner = self.lock();
        let mut held = inner.held.take().unwrap_or_default();
        match order {
            Order::Submitted => {}
            Order::Reversed => held.reverse(),
            Order::Shuffled(seed) => shuffle(&mut held, seed),
        }
        let now = Instant::now();
        for reply in held {
            inner.arrivals += 1;
            let key = (now, inner.arrivals);
            inner.queue.insert(key, reply);
        }
        self.changed.notify_all();
    }

    /// Waits until `count` replies are held; says whether they are.
    pub(crate) fn wait_held(&self, count: usize, timeout: Duration) -> bool {
        let few = |inner: &mut Inner| inner.held.as_ref().map_or(0, Vec::len) < count;
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, few);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Takes over a reply: from the reader's thread, which may be made to wait.
    pub(crate) fn submit(&self, reply: Reply) {
        let full = |inner: &mut Inner| inner.waiting() >= MOST && !inner.stopped;
        let waited = self.changed.wait_while(self.lock(), full);
        let mut inner = waited.unwrap_or_else(PoisonError::into_inner);
        if inner.stopped {
            drop(inner);
        } else if let Some(held) = &mut inner.held {
            held.push(reply);
            self.changed.notify_all();
        } else if let Replies::Delayed { min, max, .. } = inner.policy {
            let spread = u64::try_from(max.saturating_sub(min).as_nanos()).unwrap_or(u64::MAX - 1);
            let delay = min + Duration::from_nanos(inner.rng.below(spread.saturating_add(1)));
            inner.arrivals += 1;
            let key = (Instant::now() + delay, inner.arrivals);
            inner.queue.insert(key, reply);
            self.changed.notify_all();
        } else {
            drop(inner);
            reply.deliver();
        }
    }

    /// A connection is gone: its requests are no longer in flight.
    pub(crate) fn forget(&self, out: &Arc<Out>) {
        let mut inner = self.lock();
        let ours = |reply: &Reply| Arc::ptr_eq(&reply.out, out);
        let mut gone = Vec::new();
        if let Some(held) = &mut inner.held {
            let (mine, others) = std::mem::take(held).into_iter().partition(ours);
            gone = mine;
            *held = others;
        }
        let queue = std::mem::take(&mut inner.queue);
        let (mine, others): (BTreeMap<_, _>, _) = queue.into_iter().partition(|(_, r)| ours(r));
        inner.queue = others;
        drop(inner);
        self.changed.notify_all();
        drop((gone, mine));
    }

    /// Sends queued replies as they fall due, until stopped. Runs on a thread of its own.
    pub(crate) fn run(&self) {
        let mut inner = self.lock();
        while !inner.stopped {
            let now = Instant::now();
            let due = inner.queue.keys().next().copied();
            inner = match due {
                Some(key) if key.0 <= now => {
                    let reply = inner.queue.remove(&key);
                    drop(inner);
                    if let Some(reply) = reply {
                        reply.deliver();
                    }
                    self.changed.notify_all();
                    self.lock()
                }
                Some((time, _)) => {
                    let waited = self.changed.wait_timeout(inner, time - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Ends [`Pacer::run`]; replies that were not sent never are.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        let (queue, held) = (std::mem::take(&mut inner.queue), inner.held.take());
        drop(inner);
        self.changed.notify_all();
        drop((queue, held));
    }
}

impl Inner {
    fn waiting(&self) -> usize {
        self.queue.len() + self.held.as_ref().map_or(0, Vec::len)
    }
}

fn seeded(policy: Replies) -> Rng {
    match policy {
        Replies::Immediate => Rng::new(0),
        Replies::Delayed { seed, .. } => Rng::new(seed),
    }
}

fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut rng = Rng::new(seed);
    for last in (1..items.len()).rev() {
        items.swap(last, rng.below(last as u64 + 1) as usize);
    }
}
