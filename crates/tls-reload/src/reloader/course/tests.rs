//! A disk, a clock and a machine that are not there: writers, events, looks and reads in any order.
//!
//! The disk is a pair of numbers, good if they are equal. Events may be dropped, doubled and late, jobs take
//! any time, and a read may meet a writer. What is certain must hold in every order: after the last write the
//! last good pair is served in bounded time, and then nothing moves any more.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Certificate and key.
type Disk = (u8, u8);

/// What happens at a time, besides what the course wants.
#[derive(Debug, Clone, Copy)]
enum Happens {
    Write(Disk),
    Event,
    Asked,
    Poll,
    Ends(Job),
}

#[derive(Debug, Clone, Copy)]
enum Job {
    /// What it saw, and when it began.
    Look(Disk),
    /// `None`: it met a writer and never saw the same twice.
    Read(Option<Disk>, Trigger),
}

/// One write: after which pause, which half, and what becomes of its event.
#[derive(Debug, Clone, Copy)]
struct Write {
    pause: u64,
    is_key: bool,
    value: u8,
    is_dropped: bool,
    is_doubled: bool,
    late: u64,
}

struct World {
    base: Instant,
    now: u64,
    queue: BTreeMap<(u64, u64), Happens>,
    order: u64,
    disk: Disk,
    changed_at: u64,
    served: Disk,
    served_at: u64,
    course: Course<Disk>,
    /// As `watch::Signals` keeps it: the first and last event of the burst.
    burst: Option<(u64, u64)>,
    last_refusal: Option<Option<Disk>>,
    job_times: Vec<u64>,
    jobs: usize,
    reads: usize,
    has_unsettled: bool,
    polls_until: u64,
    interval: u64,
}

impl World {
    fn at(&self, time: u64) -> Instant {
        self.base + Duration::from_millis(time)
    }

    fn push(&mut self, time: u64, happens: Happens) {
        self.order += 1;
        self.queue.insert((time, self.order), happens);
    }

    fn job_time(&mut self) -> u64 {
        self.jobs += 1;
        self.job_times[self.jobs % self.job_times.len()]
    }

    fn look(&mut self) {
        if self.course.begin_look() {
            let ends = self.now + self.job_time();
            self.push(ends, Happens::Ends(Job::Look(self.disk)));
        }
    }

    fn read(&mut self, trigger: Trigger) {
        if self.course.begin_read(trigger) {
            self.burst = None;
            self.reads += 1;
            let ends = self.now + self.job_time();
            self.push(ends, Happens::Ends(Job::Read(Some(self.disk), trigger)));
        }
    }

    /// The jobs of the actor in the actor's order: see `looked` and `finished` there.
    fn ended(&mut self, job: Job) {
        let now = self.at(self.now);
        match job {
            Job::Look(saw) => {
                let age = Duration::from_millis(self.now.saturating_sub(self.changed_at));
                let found = match self.course.seen() {
                    Some(seen) if *seen == saw => Found::Same,
                    _ => Found::Changed { age },
                };
                self.course.looked(now, Arm::Differing, Some(found));
                if let Some(trigger) = self.course.read_next() {
                    self.read(trigger);
                }
            }
            Job::Read(read, trigger) => {
                // reload.md 4.2: it read a whole state, or none.
                let read = read.filter(|read| *read == self.disk);
                self.has_unsettled |= read.is_none();
                match read {
                    Some(read) if read.0 == read.1 => {
                        if read != self.served {
                            (self.served, self.served_at) = (read, self.now);
                        }
                        self.last_refusal = None;
                        self.course.taken(read);
                    }
                    refused => {
                        let is_same = self.last_refusal.replace(refused) == Some(refused);
                        self.course.refused(now, refused, is_same, trigger);
                    }
                }
                if let Some(trigger) = self.course.read_next() {
                    self.read(trigger);
                }
                if self.course.begin_look() {
                    let ends = self.now + self.job_time();
                    self.push(ends, Happens::Ends(Job::Look(self.disk)));
                }
            }
        }
    }

    fn happens(&mut self, happens: Happens) {
        match happens {
            Happens::Write(disk) => (self.disk, self.changed_at) = (disk, self.now),
            Happens::Event => match &mut self.burst {
                Some((_, last)) => *last = self.now,
                None => {
                    self.burst = Some((self.now, self.now));
                    self.course.woken(self.at(self.now));
                }
            },
            Happens::Asked => self.read(Trigger::Api),
            Happens::Poll => {
                if self.course.polls() {
                    self.look();
                }
                if self.now < self.polls_until {
                    self.push(self.now + self.interval, Happens::Poll);
                }
            }
            Happens::Ends(job) => self.ended(job),
        }
    }

    /// Until nothing is left to happen. Whether the course's own times come first at a tie is chosen.
    fn run(&mut self, is_course_first: bool) {
        for _ in 0..100_000 {
            let due = self.course.due().map(|due| {
                let due = due.saturating_duration_since(self.base).as_millis();
                u64::try_from(due).unwrap_or(u64::MAX).max(self.now)
            });
            let first = self.queue.keys().next().copied();
            let is_tick = match (due, first) {
                (None, None) => return,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(due), Some((at, _))) => due < at || (due == at && is_course_first),
            };
            if is_tick {
                self.now = due.unwrap_or(self.now);
                let now = self.at(self.now);
                let last = if self.course.is_settling(now) {
                    self.burst.take().map(|(_, last)| self.at(last))
                } else {
                    None
                };
                if let Some(trigger) = self.course.tick(now, last) {
                    self.read(trigger);
                }
            } else if let Some(((at, _), happens)) = self.queue.pop_first() {
                self.now = at;
                self.happens(happens);
            }
        }
        panic!("it never comes to rest");
    }
}

#[derive(Debug, Clone)]
struct Case {
    debounce: u64,
    extra: u64,
    interval: u64,
    writes: Vec<Write>,
    asked: Vec<u64>,
    job_times: Vec<u64>,
    is_course_first: bool,
}

fn cases(may_drop: bool) -> impl Strategy<Value = Case> {
    let write = (
        0u64..1500,
        any::<bool>(),
        0u8..4,
        any::<bool>(),
        any::<bool>(),
        0u64..LATE,
    )
        .prop_map(
            move |(pause, is_key, value, is_dropped, is_doubled, late)| Write {
                pause,
                is_key,
                value,
                is_dropped: is_dropped && may_drop,
                is_doubled,
                late,
            },
        );
    (
        prop_oneof![Just(0u64), 1u64..2000],
        0u64..5000,
        1000u64..6000,
        prop::collection::vec(write, 1..14),
        prop::collection::vec(0u64..10_000, 0..3),
        prop::collection::vec(0u64..JOB, 1..9),
        any::<bool>(),
    )
        .prop_map(
            |(debounce, extra, interval, writes, asked, job_times, is_course_first)| Case {
                debounce,
                extra,
                interval,
                writes,
                asked,
                job_times,
                is_course_first,
            },
        )
}

/// Runs a case; returns the world at rest and the time of the last write or request.
fn run(case: &Case, has_poll: bool) -> (World, u64) {
    let quiet = Quiet::new(
        Duration::from_millis(case.debounce),
        Duration::from_millis(case.debounce + case.extra),
    );
    let mut world = World {
        base: Instant::now(),
        now: 0,
        queue: BTreeMap::new(),
        order: 0,
        disk: (0, 0),
        changed_at: 0,
        served: (0, 0),
        served_at: 0,
        course: Course::new(quiet, (0, 0)),
        burst: None,
        last_refusal: None,
        job_times: case.job_times.clone(),
        jobs: 0,
        reads: 0,
        has_unsettled: false,
        polls_until: 0,
        interval: case.interval,
    };
    let (mut time, mut disk) = (0, (0, 0));
    let mut put = |world: &mut World, write: Write, disk: Disk| {
        time += write.pause;
        world.push(time, Happens::Write(disk));
        for turn in 0..1 + u64::from(write.is_doubled) {
            if !write.is_dropped {
                world.push(time + write.late * (turn + 1) / 2, Happens::Event);
            }
        }
        time
    };
    let mut last = 0;
    for write in &case.writes {
        if write.is_key {
            disk.1 = write.value;
        } else {
            disk.0 = write.value;
        }
        last = put(&mut world, *write, disk);
    }
    // The writer ends with a good pair, one half after the other.
    if let Some(write) = case.writes.last() {
        last = put(&mut world, *write, (9, disk.1));
        last = last.max(put(&mut world, *write, (9, 9)));
    }
    for asked in &case.asked {
        world.push(*asked, Happens::Asked);
    }
    if has_poll {
        world.polls_until = last + 200_000;
        world.push(case.interval, Happens::Poll);
    }
    world.run(case.is_course_first);
    (world, last)
}

const LATE: u64 = 400;
const JOB: u64 = 120;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Events alone, doubled and late: the pair is served a debounce after the last of them, whatever runs then.
    #[test]
    fn r09_r11_any_order_of_events_serves_the_last_pair(case in cases(false)) {
        let (world, last) = run(&case, false);
        prop_assert_eq!(world.served, (9, 9));
        // A job that runs, the one that was waiting behind it, and the read itself.
        let bound = last + LATE + case.debounce + 4 * JOB;
        prop_assert!(world.served_at <= bound, "{} > {bound}", world.served_at);
        prop_assert!(!world.course.is_busy() && world.course.due().is_none(), "at rest");
        prop_assert!(world.reads <= 4 * case.writes.len() + 3 * case.asked.len() + 12, "{} reads", world.reads);
    }

    /// Events dropped, too: then the poll does it (reload.md 2.4); what could not be read in peace waits for its retry.
    #[test]
    fn r04_r11_the_poll_finds_what_events_did_not_tell(case in cases(true)) {
        let (world, last) = run(&case, true);
        prop_assert_eq!(world.served, (9, 9));
        let retry = if world.has_unsettled { 64_000 } else { 0 };
        let bound = last + LATE + 2 * case.interval + case.debounce + 6 * JOB + retry;
        prop_assert!(world.served_at <= bound, "{} > {bound}", world.served_at);
        prop_assert!(!world.course.is_busy() && world.course.due().is_none(), "at rest");
    }
}
