//! What the server does to requests on purpose: latencies, bandwidth and faults, changed live.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::synthetic::mix;

/// The behaviour modelled; the default is an S3 that answers at once and never fails.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Model {
    /// Seed of every random choice. Choices depend on the order in which requests arrive only.
    pub seed: u64,
    /// Wait before the first byte of every answer but those to lists, in milliseconds.
    pub first_byte_ms: u64,
    /// Wait before the first byte of the answer to a list, in milliseconds.
    pub list_ms: u64,
    /// Bytes a second that each connection carries, each way; 0 for no limit.
    pub bandwidth: u64,
    /// Part of all requests answered with 503 SlowDown, 0 to 1.
    pub slow_down_rate: f64,
    /// Refuse signatures made for another region than the server's, as S3 does.
    pub enforce_region: bool,
    /// Faults; all that match a request apply to it.
    pub rules: Vec<Rule>,
}

/// One fault and the requests that it strikes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What happens.
    pub fault: Fault,
    /// Only requests of this S3 operation, for example `GetObject`.
    #[serde(default)]
    pub operation: Option<String>,
    /// Only requests whose key (of a list: whose prefix) begins with this.
    #[serde(default)]
    pub key_prefix: Option<String>,
    /// Part of the matching requests that it strikes, 0 to 1.
    #[serde(default = "always")]
    pub rate: f64,
    /// Leave this many matching requests alone first.
    #[serde(default)]
    pub skip: u64,
    /// Strike at most this many requests.
    #[serde(default)]
    pub count: Option<u64>,
    /// Requests that matched so far; starts from 0 whatever is sent.
    #[serde(default)]
    pub matched: u64,
    /// Requests struck so far; starts from 0 whatever is sent.
    #[serde(default)]
    pub fired: u64,
}

/// A fault. Byte counts are counts of bytes of the answer's body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Wait this many more milliseconds before the first byte.
    Latency {
        /// Milliseconds.
        ms: u64,
    },
    /// Another bandwidth than the model's, in bytes a second.
    Bandwidth {
        /// Bytes a second.
        bytes_per_s: u64,
    },
    /// 503 SlowDown.
    SlowDown,
    /// Any error.
    Error {
        /// HTTP status.
        status: u16,
        /// S3's error code.
        code: String,
    },
    /// 403 AccessDenied.
    Deny,
    /// A TCP reset: before any byte of the answer, or after this many of its body.
    Reset {
        /// `None`: before the answer's headers.
        #[serde(default)]
        after_bytes: Option<u64>,
    },
    /// The connection is closed after this many bytes of a longer body.
    Truncate {
        /// Bytes sent before.
        after_bytes: u64,
    },
    /// The body stops for a time after this many bytes; the connection stays open.
    Stall {
        /// Bytes sent before.
        after_bytes: u64,
        /// Length of the stop.
        seconds: f64,
    },
    /// One bit of the body is flipped.
    Corrupt {
        /// Which byte of the body.
        offset: u64,
    },
    /// One bit of the request's body is flipped on its way in.
    CorruptUpload {
        /// Which byte of the body.
        offset: u64,
    },
    /// The answer tells of a checksum of other bytes.
    WrongChecksum,
    /// A TCP reset instead of the answer, after what was asked for was done.
    LoseAnswer,
    /// The server knows nothing of appending, renaming and encryption, as many stores: it stores
    /// what is to be appended as a whole object, an empty one where something is to be renamed to,
    /// and encrypts nothing. Parts are copied of whatever version is there.
    Unaware,
}

impl Rule {
    /// A rule that strikes every request with `fault`.
    #[must_use]
    pub const fn new(fault: Fault) -> Self {
        Self {
            fault,
            operation: None,
            key_prefix: None,
            rate: 1.0,
            skip: 0,
            count: None,
            matched: 0,
            fired: 0,
        }
    }

    /// Only requests of this S3 operation.
    #[must_use]
    pub fn on(mut self, operation: &str) -> Self {
        self.operation = Some(operation.to_owned());
        self
    }

    /// Only requests whose key begins with this.
    #[must_use]
    pub fn under(mut self, key_prefix: &str) -> Self {
        self.key_prefix = Some(key_prefix.to_owned());
        self
    }

    /// At most this many requests.
    #[must_use]
    pub const fn times(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Only this part of the matching requests, 0 to 1.
    #[must_use]
    pub const fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }
}

/// What happens to one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    pub(crate) latency: Duration,
    /// Bytes a second; 0 for no limit.
    pub(crate) bandwidth: u64,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) reset_before_headers: bool,
    pub(crate) cut: Option<Cut>,
    pub(crate) stall: Option<(u64, Duration)>,
    pub(crate) corrupt: Option<u64>,
    pub(crate) corrupt_upload: Option<u64>,
    pub(crate) wrong_checksum: bool,
    pub(crate) lose_answer: bool,
    pub(crate) unaware: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: String,
}

/// Where a body ends before its time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) after: u64,
    pub(crate) reset: bool,
}

/// The model in force.
#[derive(Debug, Default)]
pub(crate) struct LiveModel {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    model: Model,
    requests: u64,
}

impl LiveModel {
    pub(crate) fn get(&self) -> Model {
        self.lock().model.clone()
    }

    pub(crate) fn set(&self, mut model: Model) {
        for rule in &mut model.rules {
            (rule.matched, rule.fired) = (0, 0);
        }
        *self.lock() = State { model, requests: 0 };
    }

    pub(crate) fn bandwidth(&self) -> u64 {
        self.lock().model.bandwidth
    }

    pub(crate) fn enforces_region(&self) -> bool {
        self.lock().model.enforce_region
    }

    /// Decides the fate of the next request. `key` is the key, or the prefix of a list.
    pub(crate) fn decide(&self, operation: &str, key: &str) -> Decision {
        let mut state = self.lock();
        let state = &mut *state;
        let model = &mut state.model;
        let wait = if operation.starts_with("List") {
            model.list_ms
        } else {
            model.first_byte_ms
        };
        let mut decision = Decision {
            latency: Duration::from_millis(wait),
            bandwidth: model.bandwidth,
            ..Decision::default()
        };
        state.requests += 1;
        if strikes(model.slow_down_rate, model.seed, state.requests) {
            decision.refusal = Some(Refusal::slow_down());
        }
        for (index, rule) in (1..).zip(&mut model.rules) {
            if rule.applies(operation, key) && rule.draw(mix(model.seed ^ mix(index))) {
                decision.add(&rule.fault);
            }
        }
        decision
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rule {
    fn applies(&self, operation: &str, key: &str) -> bool {
        self.operation
            .as_deref()
            .is_none_or(|wanted| wanted == operation)
            && self
                .key_prefix
                .as_deref()
                .is_none_or(|prefix| key.starts_with(prefix))
    }

    fn draw(&mut self, seed: u64) -> bool {
        self.matched += 1;
        let fires = self.matched > self.skip
            && self.count.is_none_or(|count| self.fired < count)
            && strikes(self.rate, seed, self.matched);
        self.fired += u64::from(fires);
        fires
    }
}

impl Decision {
    fn add(&mut self, fault: &Fault) {
        match *fault {
            Fault::Latency { ms } => self.latency += Duration::from_millis(ms),
            Fault::Bandwidth { bytes_per_s } => self.bandwidth = bytes_per_s,
            Fault::SlowDown => self.refusal = Some(Refusal::slow_down()),
            Fault::Error { status, ref code } => {
                self.refusal = Some(Refusal {
                    status,
                    code: code.clone(),
                });
            }
            Fault::Deny => {
                self.refusal = Some(Refusal {
                    status: 403,
                    code: "AccessDenied".into(),
                })
            }
            Fault::Reset { after_bytes: None } => self.reset_before_headers = true,
            Fault::Reset {
                after_bytes: Some(after),
            } => self.cut = Some(Cut { after, reset: true }),
            Fault::Truncate { after_bytes: after } => {
                self.cut = Some(Cut {
                    after,
                    reset: false,
                })
            }
            Fault::Stall {
                after_bytes,
                seconds,
            } => {
                let stop = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
                self.stall = Some((after_bytes, stop));
            }
            Fault::Corrupt { offset } => self.corrupt = Some(offset),
            Fault::CorruptUpload { offset } => self.corrupt_upload = Some(offset),
            Fault::WrongChecksum => self.wrong_checksum = true,
            Fault::LoseAnswer => self.lose_answer = true,
            Fault::Unaware => self.unaware = true,
        }
    }
}

impl Refusal {
    fn slow_down() -> Self {
        Self {
            status: 503,
            code: "SlowDown".into(),
        }
    }
}

const fn always() -> f64 {
    1.0
}

fn strikes(rate: f64, seed: u64, number: u64) -> bool {
    // 32 random bits are exact in an f64 and fine enough for a rate.
    let [_, _, _, _, a, b, c, d] = mix(seed ^ mix(number)).to_be_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) < rate * f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_match_by_operation_prefix_skip_and_count() {
        let live = LiveModel::default();
        let rule = Rule {
            skip: 1,
            ..Rule::new(Fault::Deny).on("GetObject").under("a/").times(2)
        };
        live.set(Model {
            rules: vec![rule],
            ..Model::default()
        });
        let denied = |op: &str, key: &str| live.decide(op, key).refusal.is_some();
        assert!(!denied("GetObject", "b/x"));
        assert!(!denied("HeadObject", "a/x"));
        let got: Vec<bool> = (0..5).map(|_| denied("GetObject", "a/x")).collect();
        assert_eq!(got, [false, true, true, false, false]);
    }

    #[test]
    fn rates_are_met_and_depend_on_the_seed_only() {
        let run = |seed| {
            let live = LiveModel::default();
            live.set(Model {
                seed,
                slow_down_rate: 0.25,
                ..Model::default()
            });
            (0..4000)
                .map(|_| live.decide("GetObject", "k").refusal.is_some())
                .collect::<Vec<_>>()
        };
        let struck = run(1).iter().filter(|struck| **struck).count();
        assert!((900..1100).contains(&struck), "{struck}");
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }
}
