//! The witness: compares, remembers, cosigns; in that order, one request per origin at a
//! time.
//!
//! Promises: a cosignature leaves only after its checkpoint is durable as the last one, so
//! no crash and no race can make this key vouch for two histories; only configured logs
//! are cosigned; an origin whose file is damaged is refused until a person has looked.
//! Cosignature times of an origin never go back. Leaves the decision itself to
//! `muniment_evidence::witness`, and connections to whoever serves the [`router`].
//!
//! | path | what |
//! |---|---|
//! | `POST /add-checkpoint` | the cosignature lines, or why not |
//! | `GET /<hex SHA-256 of the origin>/checkpoint` | the last cosigned note |
//! | `GET /healthz` | 200 while the process lives |
//!
//! Tests: `src/witness/exchange_tests.rs`, `tests/cluster/witnesses.rs`.

use super::heads::{self, HeadFile, Kept};
use crate::clock::SharedClock;
use crate::config::witness_server::WitnessConfig;
use crate::domain::cause::Cause;
use crate::stop::Stop;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use muniment_evidence::key::{SecretKey, Signer as _};
use muniment_evidence::ml_dsa::MlDsaSecretKey;
use muniment_evidence::note::VerifierKey;
use muniment_evidence::witness::{self, AddCheckpoint, Head, REQUEST_BYTES_MAX, WitnessRefusal};
use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// For a request's body to arrive: it is below 300 KB.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// What is shown changes with every checkpoint.
const SHORT: &str = "public, max-age=1";
const TEXT: &str = "text/plain; charset=utf-8";

/// See the module.
pub struct Witness {
    key: SecretKey,
    /// None unless they are switched on.
    ml_dsa: Vec<Arc<MlDsaSecretKey>>,
    name: String,
    clock: SharedClock,
    stop: Stop,
    /// By [`heads::name_of`] their origin.
    logs: HashMap<String, Log>,
    /// Held so that no second process works below the folder.
    _lock: File,
}

/// One log, and what was cosigned last for it.
struct Log {
    keys: Vec<VerifierKey>,
    file: HeadFile,
    memory: Mutex<Memory>,
}

enum Memory {
    Known(Option<Kept>),
    /// What was cosigned is not known, so nothing is.
    Unknown(String),
}

/// Why there is no cosignature.
#[derive(Debug)]
pub enum Refused {
    /// The log's fault, in the words of the protocol.
    Log(WitnessRefusal),
    /// This witness's fault.
    Own(String),
}

impl Witness {
    /// Takes the folder and loads what was cosigned. A damaged file refuses its origin
    /// alone: the others are still witnessed.
    pub fn open(
        config: &WitnessConfig,
        key: SecretKey,
        clock: SharedClock,
        stop: Stop,
    ) -> Result<Witness, Cause> {
        let lock = heads::claim(&config.data_dir)?;
        let own = VerifierKey::cosigner(&config.name, key.public());
        let mut logs: HashMap<String, Log> = HashMap::new();
        for log in &config.logs {
            let known = logs.entry(heads::name_of(&log.name)).or_insert_with(|| {
                let file = HeadFile::new(&config.data_dir, &log.name, &own);
                let memory = file.load().map_or_else(
                    |why| {
                        tracing::error!(origin = log.name, %why, "this origin is not cosigned");
                        Memory::Unknown(why)
                    },
                    Memory::Known,
                );
                Log {
                    keys: Vec::new(),
                    file,
                    memory: Mutex::new(memory),
                }
            });
            known.keys.push(log.clone());
        }
        Ok(Witness {
            key,
            ml_dsa: Vec::new(),
            name: config.name.clone(),
            clock,
            stop,
            logs,
            _lock: lock,
        })
    }

    /// Cosigns with these keys too, in lines of their own.
    pub fn with_ml_dsa(mut self, keys: Vec<Arc<MlDsaSecretKey>>) -> Witness {
        self.ml_dsa = keys;
        self
    }

    /// Decides, makes durable, cosigns. Blocks on the disk; not to be given up half-way,
    /// so it has no point at which a caller that goes away could leave it.
    pub fn add_checkpoint(&self, body: &[u8]) -> Result<String, Refused> {
        let request = AddCheckpoint::decode(body)
            .map_err(|why| Refused::Log(WitnessRefusal::Malformed(why)))?;
        let new = request.checkpoint();
        let log = self.logs.get(&heads::name_of(&new.origin));
        let log = log.ok_or(Refused::Log(WitnessRefusal::UnknownOrigin))?;
        // A panic under the lock leaves it unknown what is on disk.
        let mut memory = log
            .memory
            .lock()
            .map_err(|_| Refused::Own("this origin was left half-way".into()))?;
        let last = match &*memory {
            Memory::Known(last) => last.as_ref(),
            Memory::Unknown(why) => return Err(Refused::Own(why.clone())),
        };
        if let Err(refusal) = witness::decide(&request, &log.keys, last.map(|kept| kept.head)) {
            if refusal == WitnessRefusal::Inconsistent {
                suspect(&request, last);
            }
            return Err(Refused::Log(refusal));
        }
        // The line says that at this time nothing larger was cosigned; a clock that was
        // set back must not make two lines contradict each other.
        let now_s = self.clock.now_ms() / 1000;
        let time_s = last.map_or(now_s, |kept| kept.time_s.max(now_s));
        let mut line = witness::cosign(&request, &self.name, &self.key, time_s);
        for key in &self.ml_dsa {
            let further = new.cosign_ml_dsa(&self.name, key, time_s);
            line += &further.expect("the configuration bounds names and origins by 255 bytes");
        }
        let kept = Kept {
            head: Head {
                size: new.size,
                root: new.root,
            },
            time_s,
            note: request.cosigned(&log.keys, &line),
        };
        if let Err(error) = log.file.replace(&kept.note) {
            let why = format!(
                "what is cosigned for {} cannot be kept: {error}",
                new.origin
            );
            *memory = Memory::Unknown(why.clone());
            self.stop.broken(why.clone());
            return Err(Refused::Own(why));
        }
        tracing::info!(origin = new.origin, size = new.size.get(), "cosigned");
        *memory = Memory::Known(Some(kept));
        Ok(line)
    }

    /// The last cosigned note of the origin of this name.
    pub fn last(&self, name: &str) -> Result<Option<String>, Refused> {
        let log = self.logs.get(name);
        let log = log.ok_or(Refused::Log(WitnessRefusal::UnknownOrigin))?;
        let memory = log.memory.lock();
        match memory.as_deref() {
            Ok(Memory::Known(kept)) => Ok(kept.as_ref().map(|kept| kept.note.clone())),
            Ok(Memory::Unknown(why)) => Err(Refused::Own(why.clone())),
            Err(_) => Err(Refused::Own("this origin was left half-way".into())),
        }
    }
}

/// A log-signed checkpoint that does not fit. Two roots at one size are two histories, and
/// both notes are the proof. A wrong proof shows nothing yet: anybody may send it with
/// somebody else's note.
fn suspect(request: &AddCheckpoint, last: Option<&Kept>) {
    let new = request.checkpoint();
    match last {
        Some(kept) if kept.head.size == new.size && kept.head.root != new.root => {
            let (first, second) = (&kept.note, request.signed());
            tracing::error!(first, second, "a log signed two histories");
        }
        _ => {
            let (origin, size) = (&new.origin, new.size);
            tracing::warn!(origin, size = size.get(), root = %new.root, "not shown to be consistent");
        }
    }
}

/// What is served; at most one request per connection is worked on at a time.
pub fn router(witness: Arc<Witness>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add))
        .route("/{origin}/checkpoint", get(show))
        .route("/healthz", get(|| async { "alive\n" }))
        .with_state(witness)
}

async fn add(State(witness): State<Arc<Witness>>, body: Body) -> Response {
    let taken = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, REQUEST_BYTES_MAX)).await;
    let body = match taken {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return answer(StatusCode::PAYLOAD_TOO_LARGE, "not a request\n".into()),
        Err(_) => return answer(StatusCode::REQUEST_TIMEOUT, "the body is late\n".into()),
    };
    match off_the_workers(move || witness.add_checkpoint(&body)).await {
        Ok(line) => answer(StatusCode::OK, line),
        Err(refused) => refuse(refused),
    }
}

async fn show(State(witness): State<Arc<Witness>>, Path(name): Path<String>) -> Response {
    match off_the_workers(move || witness.last(&name)).await {
        Ok(Some(note)) => {
            let headers = [(header::CONTENT_TYPE, TEXT), (header::CACHE_CONTROL, SHORT)];
            (headers, note).into_response()
        }
        Ok(None) => answer(StatusCode::NOT_FOUND, "nothing was cosigned yet\n".into()),
        Err(refused) => refuse(refused),
    }
}

/// On a thread that runs to its end even when the caller goes away.
async fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Refused::Own(error.to_string())))
}

fn refuse(refused: Refused) -> Response {
    match refused {
        Refused::Log(refusal) => {
            let status = StatusCode::from_u16(refusal.status());
            let status = status.expect("refusals have statuses of three digits");
            let headers = [(header::CONTENT_TYPE, refusal.content_type())];
            (status, headers, refusal.body()).into_response()
        }
        Refused::Own(why) => answer(StatusCode::INTERNAL_SERVER_ERROR, why + "\n"),
    }
}

fn answer(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}
