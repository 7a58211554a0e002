//! Every check of the verifier, by its id: the one list of what evidence can fail.
//!
//! Promises: each finding names the check that it comes from, and the check gives its class;
//! ids are those of FORMAT.md, and mean the same for ever. A test leaves out one after the
//! other and asks that a frozen file notices (`checks_tests.rs`); the product cannot leave
//! out any. Leaves how a check is made to the modules that make it.
//!
//! Tests: `evidence/src/checks_tests.rs`.

use crate::class::FindingClass;
use std::fmt;

/// Writes the enum of the checks, with `ALL`, `id`, `class` and `section`.
macro_rules! checks {
    ($($(#[$about:meta])* $member:ident = $id:literal $class:ident $section:literal,)+) => {
        /// A check. What is said of each is what holds where it passes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $($(#[$about])* $member,)+
        }

        impl Check {
            /// Every check, in the order of FORMAT.md.
            pub const ALL: [Check; [$($id),+].len()] = [$(Check::$member),+];

            /// As it stands in reports and in FORMAT.md. Never changed.
            pub fn id(self) -> &'static str {
                match self {
                    $(Check::$member => $id,)+
                }
            }

            /// What it is where the check fails.
            pub fn class(self) -> FindingClass {
                match self {
                    $(Check::$member => FindingClass::$class,)+
                }
            }

            /// The section of FORMAT.md that states it.
            pub fn section(self) -> &'static str {
                match self {
                    $(Check::$member => $section,)+
                }
            }
        }
    };
}

checks! {
    /// The evidence is of the ledger that the pin names.
    Pinned = "A1" Untrusted "13",
    /// A checkpoint meets the policy.
    PolicyMet = "A2" Policy "12",
    /// A witness of the policy has cosigned, so that the age is known,
    AgeKnown = "A3" MissingData "12",
    /// and not longer ago than is asked for.
    RecentEnough = "A4" Policy "12",

    GenesisRecordReads = "G1" Structure "8",
    GenesisIsFirst = "G2" Structure "8",
    GenesisOpeningIsCommitted = "G3" Opening "8",
    GenesisOpeningReads = "G4" Structure "8",
    GenesisNames = "G5" Structure "8",
    GenesisKeys = "G6" UnknownKey "8",
    GenesisFounder = "G7" UnknownKey "8",
    GenesisSignature = "G8" BadSignature "8",

    KeyRecordReads = "K1" Structure "6.2",
    /// The next OK record of kind KEY, below the claimed size.
    KeyRecordInTurn = "K2" BrokenChain "6.2",
    KeyOpeningIsCommitted = "K3" Opening "6.2",
    KeyOpeningReads = "K4" Opening "6.2",
    /// Every endorsement's signature holds, and no key endorses twice.
    ChangeSignatures = "K5" UnknownKey "6.1",
    ChangeSerial = "K6" UnknownKey "6.1",
    /// Every key that is added has endorsed.
    ChangePossession = "K7" UnknownKey "6.1",
    /// Those have endorsed who must.
    ChangeEndorsed = "K8" UnknownKey "6.1",
    ChangeNotEmpty = "K9" UnknownKey "6.1",
    /// Each change, one after another, is possible.
    ChangePossible = "K10" UnknownKey "6.1",
    /// Afterwards there is an active log key, and a threshold that can be met.
    ChangeLeavesKeys = "K11" UnknownKey "6.1",
    KeyRecordInTree = "K12" BadTree "6.2",
    /// An OK KEY record that is shown is among those that were taken.
    KeyRecordListed = "K13" BrokenChain "6.2",

    LastRecordShown = "T1" MissingData "6.3",
    LastRecordReads = "T2" Structure "6.3",
    LastRecordIsLast = "T3" BrokenChain "6.3",
    LastRecordInTree = "T4" BadTree "6.3",
    /// Under the checkpoint there are no more KEY records than were taken,
    KeysAllShown = "T5" MissingData "6.3",
    /// and no fewer.
    KeysNoneInvented = "T6" BrokenChain "6.3",
    /// The last record is not of later than the members cosigned it.
    LastRecordInTime = "T9" Time "6.3",
    /// A record counts no more KEY records before it than were taken,
    KeysBeforeShown = "T7" MissingData "6.3",
    /// and no fewer.
    KeysBeforeNotInvented = "T8" BrokenChain "6.3",

    /// A change that is known, and covered, is shown.
    KnownChangeShown = "N1" Fork "6.4",
    /// A change that is shown, and covered by those known, is known.
    ShownChangeKnown = "N2" Fork "6.4",

    /// What an operator wills is ordered,
    OrderThere = "E1" UnknownKey "6.5",
    /// and signed by an operator key that is active.
    OrderSigned = "E2" UnknownKey "6.5",
    /// Endorsements were given for later than the record that they name,
    EndorsedBefore = "E3" UnknownKey "6.5",
    /// have not expired,
    EndorsedInTime = "E4" UnknownKey "6.5",
    /// and were given in this history.
    EndorsedHere = "E5" BrokenChain "6.5",

    NoteReads = "C1" Checkpoint "7.3",
    CheckpointReads = "C2" Checkpoint "7.3",
    CheckpointOrigin = "C3" Checkpoint "7.3",
    LogLinesHold = "C4" Checkpoint "7.3",
    /// A log key that is in force at the size has signed, or one that was revoked.
    LogKeyInForce = "C5" Checkpoint "7.3",
    /// Not only a revoked one.
    LogKeyNotRevoked = "C6" Revoked "7.3",
    MemberLinesHold = "C7" Checkpoint "7.3",

    /// The statement names this ledger.
    OfThisLedger = "R1" BrokenChain "11",
    /// GENESIS is the first record, and no other is.
    GenesisStandsFirst = "R2" BrokenChain "11",
    NodeKnown = "R3" UnknownKey "11",
    /// A statement key that the node ever had has signed,
    StatementSigned = "R4" BadSignature "11",
    /// which is not revoked there,
    StatementKeyNotRevoked = "R5" Revoked "11",
    /// and in force there.
    StatementKeyInForce = "R6" UnknownKey "11",

    /// A lane of an outbox carries deferred DOWNLOADs alone.
    OutboxCarriesDownloads = "R7" Lane "11",

    PublicOpeningShown = "O1" MissingData "11",
    DocumentIsCommitted = "O2" Opening "11",
    PublicSaltIsZero = "O3" Opening "11",
    DocumentReads = "O4" Opening "11",
    DocumentIsOfKind = "O5" Opening "11",
    /// start <= end <= length.
    DownloadRange = "O6" Opening "11",
    BootKeyInForce = "O7" UnknownKey "11",
    MembersHaveKeys = "O8" UnknownKey "11",
    AnchorIsEarlier = "O9" Opening "11",
    AnchorCosigned = "O10" Opening "11",
    ActorIsCommitted = "O11" Opening "11",
    ActorReads = "O12" Opening "11",
    /// What took effect is within the limits of section 5.3.
    WithinLimits = "O13" Opening "11",
    /// No body is lost by an OK record.
    BodyKept = "O14" BodyLost "11",

    /// Nothing that is shown may change what chain and keys mean in a way not known here:
    /// no record,
    KindUnderstood = "U1" Unknown "3.1",
    /// and no level.
    LevelUnderstood = "U2" Unknown "5.1",

    HoldingOfThisLedger = "H1" Opening "11",
    /// Of a body that the record names.
    HoldingOfRendition = "H2" Opening "11",
    HoldingNodeKnown = "H3" UnknownKey "11",
    HoldingZone = "H4" Opening "11",
    HoldingSigned = "H5" BadSignature "11",
    HoldingKeyNotRevoked = "H6" Revoked "11",
    HoldingKeyInForce = "H7" UnknownKey "11",

    ReceiptReads = "V1" Structure "9",
    ReceiptRecordReads = "V2" Structure "9",
    ReceiptRecordInTree = "V3" BadTree "9",
    /// The record is an ISSUE or REVERSE.
    RecordIssues = "V4" NotDone "9",
    RecordIsOk = "V5" NotDone "9",
    DocumentOpeningShown = "V6" Document "9",
    DocumentIsTheRecords = "V7" Document "9",

    BundleBegins = "B1" Structure "10",
    FrameType = "B2" Structure "10",
    FrameLength = "B3" Structure "10",
    KeyFramesCount = "B4" Structure "10",
    FrameOrder = "B5" Structure "10",
    FrameReads = "B6" Structure "10",
    NothingFollows = "B7" Structure "10",
    EndDigest = "B8" Structure "10",
    EndCounts = "B9" MissingData "10",
    EndReached = "B10" MissingData "10",
    /// Manifest and genesis name the same ledger.
    ManifestLedger = "B11" Structure "10",

    RecordReads = "M1" Structure "10",
    NoneMissing = "M2" MissingData "10",
    NoneRepeated = "M3" BrokenChain "10",
    SelectionInOrder = "M4" BrokenChain "10",
    SelectedInTree = "M5" BadTree "10",
    RangeComplete = "M6" MissingData "10",
    RangeNotExceeded = "M7" Structure "10",

    Chained = "L1" BrokenChain "10",
    TimeGoesOn = "L2" Time "10",
    /// GENESIS and BOOT stand in the boot lane, and nothing else does.
    LaneOfKind = "L3" Lane "10.1",
    StrictLaneOpen = "L4" Lane "10.1",
    LaneWithoutGap = "L5" Lane "10.1",
    LaneWithoutRepeat = "L6" Lane "10.1",
    LaneLinked = "L7" Lane "10.1",
    OutboxNamedAgain = "L8" Lane "10.2",
    OutboxNext = "L9" Lane "10.2",
    OutboxLast = "L10" Lane "10.2",
    OutboxKept = "L11" Lost "10.2",
    /// A BOOT names an outbox once.
    OutboxNamedOnce = "L17" Lane "10.2",
    /// `next` is not below what the BOOT before said, while the lane is.
    OutboxNotBack = "L18" Lane "10.2",
    /// Where the lane gets to what a BOOT said, it has the statement that the BOOT said.
    OutboxAsSaid = "L19" Lane "10.2",
    DuplicateIsEarlier = "L12" BrokenChain "10",
    DuplicateOfOk = "L13" BrokenChain "10",
    EndIsLater = "L14" BrokenChain "10",
    EndOfOwnDownload = "L15" BrokenChain "10",
    EndedOnce = "L16" BrokenChain "10",

    /// An outbox goes on under a retired key as far as a BOOT said it was signed.
    OutboxBeforeRetirement = "L20" Lane "10.2",

    /// What takes effect repeats nothing.
    IssuedOnce = "D1" Rule "10.4",
    /// DUPLICATE_OF names what did the same.
    DuplicateRepeats = "D2" Rule "10.4",
    /// It is of an invoice of its tenant, and a DOWNLOAD of its bytes.
    OfAnInvoice = "D3" Rule "10.4",
    /// What a REVERSE takes off, and a VOID takes back, is there.
    TakenBackOnce = "D4" Rule "10.4",
    HoldingsMeetLevel = "D5" Rule "10.4",
    /// A DOWNLOAD_END is of its tenant's downloads, and of no more bytes than theirs.
    EndWithinDownload = "D6" Rule "10.4",
    LeaderOncePerTerm = "D7" Rule "10.4",
    BootOfSameDisk = "D8" Rule "10.4",
    /// A KEY is refused for what it is, and retires by an epoch that has come.
    KeyRefusedRightly = "D9" Rule "10.4",
    /// A WAIVER is of the record that stands there, once.
    WaivedOnce = "D10" Rule "10.4",
    /// A BODY_LOST is of a body that a rendition names, once.
    LostOnce = "D11" Rule "10.4",
    /// With `--require-judged`: no rule was left unjudged.
    AllJudged = "D12" MissingData "10.4",

    FirstCheckpointAtEnd = "S1" Checkpoint "10",
    LaterCheckpointSize = "S2" Checkpoint "10",
    CheckpointGoesOn = "S3" BadTree "10",
    RecordsLeadToRoot = "S4" BadTree "10",
    CheckpointShown = "S5" Checkpoint "10",
    CheckpointOfHead = "S6" Checkpoint "10",

    /// The records lead to the saved head.
    HeadOfRecords = "F1" Fork "10",
    /// A checkpoint of the saved head's size has its root.
    HeadOfCheckpoint = "F2" Fork "10",
    HeadCompared = "F3" MissingData "10",

    AnchorsComparable = "W1" MissingData "10.3",
    AnchorOfRecords = "W2" Fork "10.3",
    AnchorThere = "W3" MissingData "10.3",

    PromiseReads = "P1" Structure "20",
    /// A deferred DOWNLOAD in an outbox.
    PromisesDownload = "P2" Structure "20",
}

impl Check {
    /// Whether it fails where this is so.
    #[inline]
    pub(crate) fn fails(self, broken: bool) -> bool {
        broken && self.is_asked()
    }

    /// Always: what the verifier knows to ask, it asks.
    #[cfg(not(test))]
    #[inline]
    pub(crate) fn is_asked(self) -> bool {
        true
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
