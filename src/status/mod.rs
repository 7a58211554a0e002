//! How every node is, known at every node.
//!
//! **The problem.** Many decisions need to know how the other nodes are: whether an entry
//! is where a write level wants it, whether a node that joins has everything, whom a slow
//! leader can hand over to, whether two nodes are configured alike and near enough for
//! their timeouts, whether two replicas that applied the same have the same state. Nothing
//! here is needed for a commit: consensus works without it.
//!
//! **The messages.** There is one exchange. A node sends its [`messages::NodeStatus`] and
//! is answered with the other's: who it is and how it is configured, how far it is, how
//! well it is. If it says that it takes the other for the leader, and the other leads, the
//! answer also holds all statuses that the leader knows, each with its age: for show, since
//! what a node is, it tells itself. A status is taken from its own node alone, on the disk that
//! the ledger knows. A second message asks the leader to wait until an entry is as durable as
//! a write level asks ([`durable`]); a third asks a member that is to leave how much it has
//! promised and not recorded ([`promised`]).
//!
//! **The order.** Each node asks the leader ten times a second ([`table`]): so the leader
//! knows everybody's progress, and everybody knows what the leader knows. Each node asks
//! every other member once a second ([`peer_monitor`]): the time that this takes is how far
//! apart they are. Before a founding or a join the same question is asked of a node that is
//! no member yet: one that is configured otherwise, or too far away for the timing profile,
//! is refused. Whoever carries a change of the members through asks a member directly,
//! since what the leader's table says may be some hundred milliseconds old.
//!
//! **An example.** Nodes 1, 2 and 3; node 1 leads, a write asks for `zones:3`. Raft commits
//! the entry at index 70 once nodes 1 and 2 have it, which are two zones. The caller's node
//! asks the leader to wait for the level. Node 3's log is flushed up to 70 a little later,
//! and its next status says that its bodies are complete up to the record: the leader
//! answers that nodes 1, 2 and 3 have it.
//!
//! **What can go wrong.** A node that is cut off knows old statuses; each is shown with its
//! age. A node that lies about itself is believed, as Raft believes it; what must be proven
//! is cosigned (`checkpoint/`). States are compared at one index, by every node for itself:
//! it stops when a majority of the voters tells it of one other state there ([`replicas`],
//! [`agreement`]), and never because one of them, leader or not, says so. One node with a wrong
//! configuration makes itself unready, never the others. A message of a newer version is
//! refused by its number, so that nodes of two builds do without each other's status
//! rather than misread it.
//!
//! * [`messages`]: byte for byte
//! * [`own`]: this node's own status, and asking others for theirs
//! * [`table`]: what is known of all; [`durable`]: waiting until a level is reached
//! * [`promised`]: what a member has still to record before it may leave
//! * [`replicas`]: this replica's state beside the others'; [`agreement`]: the counting
//! * [`peer_monitor`]: who the others are, and how far away; [`processes`]: two under one id
//! * [`leader_monitor`]: how long nobody led
//! * [`disk_health`], [`clock_health`]: a slow disk, and a clock that is off, give leadership up

pub mod agreement;
pub mod clock_health;
pub mod disk_health;
pub mod durable;
pub mod leader_monitor;
pub mod messages;
pub mod own;
pub mod peer_monitor;
pub mod processes;
pub mod promised;
pub mod replicas;
pub mod table;
