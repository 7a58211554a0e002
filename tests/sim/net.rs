//! The traffic between simulated nodes: the transport of `src/transport.rs` on turmoil.
//!
//! Promises what that trait promises, and that every frame is in the trace: a call ends by its deadline, a stream ends when
//! either side drops it, and, since turmoil never sends a lost segment again, a peer that
//! is silent for [`SILENCE_MAX`] is taken for gone. One connection per call or stream, so
//! nothing waits for anything else. Leaves the meaning of frames to the nodes.

use crate::cluster::Cluster;
use crate::facts::{Event, Events};
use crate::trace::{Trace, What, digest};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use muniment::domain::cause::{AnyError, Cause};
use muniment::domain::ids::NodeId;
use muniment::transport::{
    Class, Destination, FRAME_BYTES_MAX, Failure, FrameEnds, Frames, Method, Serve, Transport,
};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};

/// Where every node listens for its peers.
pub const PORT: u16 = 7601;
/// A peer that does not accept by then is away.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// A side of a stream that has nothing to say says so this often.
const ALIVE_EVERY: Duration = Duration::from_millis(500);
/// Four missed signs of life.
const SILENCE_MAX: Duration = Duration::from_millis(2000);

/// What a frame is: the first byte after its length.
const CALL: u8 = 1;
const STREAM: u8 = 2;
const DATA: u8 = 3;
const END: u8 = 4;
const ALIVE: u8 = 5;
const UNREACHABLE: u8 = 6;
const TIMEOUT: u8 = 7;
const REFUSED: u8 = 8;
/// Method, caller and who is meant, in front of the body of the first frame.
const HEAD_BYTES: usize = 4 + 8 + 8;

fn gone(why: impl Into<Box<AnyError>>) -> Failure {
    Failure::Unreachable(Cause::new(why))
}

async fn write(
    said: &Said,
    to: &mut OwnedWriteHalf,
    kind: u8,
    content: &[u8],
) -> Result<(), Failure> {
    said.note(What::Sent, kind, content);
    let length = (content.len() as u32 + 1).to_be_bytes();
    // In one piece: half a frame would be one more segment to lose.
    let frame = [&length[..], &[kind], content].concat();
    to.write_all(&frame).await.map_err(gone)
}

async fn read(said: &Said, from: &mut OwnedReadHalf) -> Result<(u8, Bytes), Failure> {
    let length = from.read_u32().await.map_err(gone)? as usize;
    if length == 0 || length > FRAME_BYTES_MAX + HEAD_BYTES + 1 {
        return Err(Failure::Refused(
            format!("a frame of {length} bytes").into(),
        ));
    }
    let mut frame = vec![0; length];
    from.read_exact(&mut frame).await.map_err(gone)?;
    let frame = Bytes::from(frame);
    said.note(What::Received, frame[0], &frame[1..]);
    Ok((frame[0], frame.slice(1..)))
}

async fn write_failure(
    said: &Said,
    to: &mut OwnedWriteHalf,
    failure: &Failure,
) -> Result<(), Failure> {
    match failure {
        Failure::Unreachable(why) => write(said, to, UNREACHABLE, why.to_string().as_bytes()).await,
        Failure::Timeout => write(said, to, TIMEOUT, &[]).await,
        Failure::Refused(why) => write(said, to, REFUSED, why.to_string().as_bytes()).await,
    }
}

fn read_failure(kind: u8, content: &[u8]) -> Failure {
    let why = String::from_utf8_lossy(content).into_owned();
    match kind {
        UNREACHABLE => Failure::Unreachable(why.into()),
        TIMEOUT => Failure::Timeout,
        REFUSED => Failure::Refused(why.into()),
        _ => Failure::Refused(format!("a frame of unknown kind {kind}").into()),
    }
}

/// A node's way to its peers. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    node: u64,
    trace: Trace,
    events: Events,
}

/// What is said on one connection, as the trace has it.
#[derive(Clone)]
struct Said {
    net: Net,
    method: u32,
}

impl Said {
    fn note(&self, what: What, kind: u8, content: &[u8]) {
        let about = u64::from(self.method) << 8 | u64::from(kind);
        self.net
            .trace
            .note(what, self.net.node, about, digest(content));
    }
}

impl Net {
    pub fn new(node: u64, cluster: &Cluster) -> Net {
        Net {
            node,
            trace: cluster.trace.clone(),
            events: cluster.events.clone(),
        }
    }

    fn said(&self, method: Method) -> Said {
        Said {
            net: self.clone(),
            method: method as u32,
        }
    }

    fn head(&self, to: NodeId, method: Method, body: &[u8]) -> Vec<u8> {
        let method = (method as u32).to_be_bytes();
        let (from, to) = (self.node.to_be_bytes(), to.get().to_be_bytes());
        [&method[..], &from, &to, body].concat()
    }
}

async fn dial(
    said: &Said,
    address: String,
    kind: u8,
    head: &[u8],
) -> Result<(OwnedReadHalf, OwnedWriteHalf), Failure> {
    let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| gone("not accepted in time"))?;
    let (reader, mut writer) = stream.map_err(gone)?.into_split();
    write(said, &mut writer, kind, head).await?;
    Ok((reader, writer))
}

impl Transport for Net {
    fn call(
        &self,
        to: Destination,
        _class: Class,
        method: Method,
        body: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, Failure>> {
        let (head, said) = (self.head(to.node, method, &body), self.said(method));
        let exchange = async move {
            // The writing half stays open: closing it would tell the peer to forget us.
            let (mut reader, _writer) = dial(&said, to.address, CALL, &head).await?;
            match read(&said, &mut reader).await? {
                (DATA, answer) => Ok(answer),
                (kind, content) => Err(read_failure(kind, &content)),
            }
        };
        async move {
            let answered = timeout(deadline, exchange).await;
            answered.unwrap_or(Err(Failure::Timeout))
        }
        .boxed()
    }

    fn stream(
        &self,
        to: Destination,
        _class: Class,
        method: Method,
        frames: BoxStream<'static, Bytes>,
    ) -> BoxFuture<'static, Result<Frames, Failure>> {
        let (head, said) = (self.head(to.node, method, &[]), self.said(method));
        async move {
            let (reader, writer) = dial(&said, to.address, STREAM, &head).await?;
            let sending = Sending(tokio::spawn(send(said.clone(), writer, frames)));
            let reader = Reader::new(said, reader, false);
            Ok(incoming(reader, Some(sending)))
        }
        .boxed()
    }
}

/// The outgoing half of a stream; it ends with the incoming one.
struct Sending(tokio::task::JoinHandle<()>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(said: Said, mut to: OwnedWriteHalf, mut frames: BoxStream<'static, Bytes>) {
    loop {
        let sent = match timeout(ALIVE_EVERY, frames.next()).await {
            Err(_) => write(&said, &mut to, ALIVE, &[]).await,
            Ok(Some(frame)) => write(&said, &mut to, DATA, &frame).await,
            Ok(None) => {
                // A peer that is gone is noticed by the incoming half.
                let _ = write(&said, &mut to, END, &[]).await;
                // Open until the answers were read: the peer has stopped reading, and a
                // closed half would reset the connection under them.
                return std::future::pending().await;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The incoming half of a stream. Of one that is served it stays open after its reader has
/// had enough: closed over what the caller still says, it would reset the connection under
/// the answers. The caller ends it once it has them.
struct Reader {
    said: Said,
    half: Option<OwnedReadHalf>,
    drained: bool,
}

impl Reader {
    fn new(said: Said, half: OwnedReadHalf, drained: bool) -> Reader {
        Reader {
            said,
            half: Some(half),
            drained,
        }
    }

    async fn read(&mut self) -> Result<(u8, Bytes), Failure> {
        let half = self.half.as_mut().ok_or_else(|| gone("closed"))?;
        read(&self.said, half).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let (Some(mut half), true, Ok(runtime)) = (
            self.half.take(),
            self.drained,
            tokio::runtime::Handle::try_current(),
        ) {
            let said = self.said.clone();
            runtime.spawn(async move {
                while let Ok(Ok(_)) = timeout(SILENCE_MAX, read(&said, &mut half)).await {}
            });
        }
    }
}

fn incoming(from: Reader, sending: Option<Sending>) -> Frames {
    stream::unfold(Some((from, sending)), |state| async move {
        let (mut from, sending) = state?;
        loop {
            let failure = match timeout(SILENCE_MAX, from.read()).await {
                Ok(Ok((ALIVE, _))) => continue,
                Ok(Ok((END, _))) => return None,
                Ok(Ok((DATA, frame))) => return Some((Ok(frame), Some((from, sending)))),
                Ok(Ok((kind, content))) => read_failure(kind, &content),
                Ok(Err(failure)) => failure,
                Err(_) => gone("silent for too long"),
            };
            return Some((Err(failure), None));
        }
    })
    .boxed()
}

/// Serves peers for as long as the host lives.
pub async fn serve(net: Net, peers: Arc<dyn Serve>) -> io::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(net.clone(), peers.clone(), stream));
    }
}

async fn answer(net: Net, peers: Arc<dyn Serve>, stream: TcpStream) {
    let (mut reader, mut writer) = stream.into_split();
    let unknown = Said {
        net: net.clone(),
        method: 0,
    };
    let Ok(Ok((kind, head))) = timeout(SILENCE_MAX, read(&unknown, &mut reader)).await else {
        return;
    };
    let Some((method, ends, body)) = read_head(&head) else {
        return;
    };
    let said = net.said(method);
    // A caller that is gone needs no answer, hence the results that nobody reads below.
    match kind {
        CALL => {
            let _ = match peers.call(ends, method, body).await {
                Ok(answer) => write(&said, &mut writer, DATA, &answer).await,
                Err(failure) => write_failure(&said, &mut writer, &failure).await,
            };
        }
        STREAM => {
            let reader = Reader::new(said.clone(), reader, true);
            let opening = peers.stream(ends, method, incoming(reader, None));
            let _ = answer_stream(&said, opening, &mut writer).await;
        }
        _ => {}
    }
}

async fn answer_stream(
    said: &Said,
    mut opening: BoxFuture<'static, Result<Frames, Failure>>,
    to: &mut OwnedWriteHalf,
) -> Result<(), Failure> {
    let opened = loop {
        match timeout(ALIVE_EVERY, &mut opening).await {
            Err(_) => write(said, to, ALIVE, &[]).await?,
            Ok(opened) => break opened,
        }
    };
    let mut answers = match opened {
        Ok(answers) => answers,
        Err(failure) => return write_failure(said, to, &failure).await,
    };
    // Of a body its digests come first, then its chunks.
    let mut chunks = false;
    loop {
        match timeout(ALIVE_EVERY, answers.next()).await {
            Err(_) => write(said, to, ALIVE, &[]).await?,
            Ok(Some(Ok(answer))) => {
                if chunks {
                    let (node, digest) = (said.net.node, digest(&answer));
                    said.net.events.push(Event::ChunkSent { node, digest });
                }
                chunks = said.method == Method::GetBody as u32;
                write(said, to, DATA, &answer).await?;
            }
            Ok(Some(Err(failure))) => return write_failure(said, to, &failure).await,
            Ok(None) => return write(said, to, END, &[]).await,
        }
    }
}

fn read_head(frame: &Bytes) -> Option<(Method, FrameEnds, Bytes)> {
    let method = u32::from_be_bytes(frame.get(..4)?.try_into().ok()?);
    let node = |at: usize| {
        let bytes = frame.get(at..at + 8)?.try_into().ok()?;
        Some(NodeId::new(u64::from_be_bytes(bytes)))
    };
    let ends = FrameEnds {
        from: node(4)?,
        to: node(12)?,
    };
    Some((Method::from_code(method)?, ends, frame.slice(HEAD_BYTES..)))
}
