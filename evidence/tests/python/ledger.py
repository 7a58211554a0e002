"""A ledger's keys over time, and the checks of one record (FORMAT.md 6, 7.3, 8, 11).

It promises that keys come from GENESIS and from KEY records that are believed, and from
nowhere else. It leaves the order of checks to `verify`.
"""

import copy
from hashlib import sha256

from checkpoint import (COSIGNATURE, LOG, ML_DSA_COSIGNATURE, Note, VerifierKey, cosigned_time,
                        is_key_name, parse_checkpoint, parse_note, parse_verifier_key, strict_point, verify,
                        vouch)
from evidence import (NOT_SYSTEM, RESERVED, Broken, DecodeError, Record, decode_actor,
                      decode_document, is_name, leaf_hash)

ZERO = bytes(32)
IN_FORCE, REVOKED, NOT_IN_FORCE = "in force", "revoked", "not in force"
ADD, RETIRE, REVOKE = 1, 2, 3
ROLES = {1: "log", 2: "statement", 3: "cosignature", 4: "root", 5: "operator"}


def commit(tag, salt, opening):
    return sha256(f"muniment/{tag}/v1\n".encode() + salt + opening).digest()


def is_place(name):
    return is_key_name(name) and is_name(name) and "/" not in name and len(name.encode()) <= 64


class Life:
    def __init__(self, key, added=None):
        self.key, self.added, self.retired, self.until = key, added, None, None
        self.revoked, self.last_epoch = None, None

    def decides(self, index):
        """Of KEY records below alone: what was decided stays so."""
        ended = [at for at in (self.retired, self.revoked) if at is not None and at < index]
        return self.begun(index) and not ended

    def is_active(self):
        return self.retired is None and self.until is None

    def begun(self, at):
        return self.added is None or self.added < at

    def ended(self, at):
        return self.retired is not None and self.retired < at

    def at(self, index):
        return NOT_IN_FORCE if self.ended(index) else self.before(index)

    def before(self, index):
        if not self.begun(index):
            return NOT_IN_FORCE
        return REVOKED if self.until is not None and self.until <= index else IN_FORCE

    def of_holding(self, index, epoch):
        late = self.ended(index) and epoch > self.last_epoch
        return NOT_IN_FORCE if late else self.before(index)

    def at_size(self, size):
        if not self.begun(size) or self.ended(size):
            return NOT_IN_FORCE
        return REVOKED if self.until is not None and self.until < size else IN_FORCE


class Member:
    def __init__(self, region, zone):
        self.region, self.zone, self.statement, self.cosignature = region, zone, [], []


class History:
    """Section 6."""

    def __init__(self, genesis):
        self.serial, self.threshold, self.origin = 0, genesis["threshold"], genesis["origin"]
        self.bytes = 0
        self.log = [Life(genesis["log"])]
        self.root = [Life(key) for key in genesis["roots"]]
        self.operator = [Life(key) for key in genesis["operators"]]
        self.members = {}
        for row in genesis["members"]:
            member = self.members[row["node"]] = Member(row["region"], row["zone"])
            member.statement.append(Life(row["statement"]))
            member.cosignature.append(Life(row["cosignature"]))

    def all(self):
        lives = self.log + self.root + self.operator
        for member in self.members.values():
            lives = lives + member.statement + member.cosignature
        return lives

    def has_twin(self, change):
        """Of one name in notes, and one id."""
        role, node = ROLES[change["role"]], change["node"]
        if role == "log":
            name, kind, before = self.origin, LOG, self.log
        elif role == "cosignature" and node in self.members:
            name = f"{self.origin}/{change['region']}/{change['zone']}/{node}"
            kind, before = COSIGNATURE, self.members[node].cosignature
        else:
            return False
        id_of = VerifierKey(name, kind, change["key"]).id
        return any(VerifierKey(name, kind, life.key).id == id_of for life in before)

    def change(self, index, change, retroactive):
        role, node, key = ROLES[change["role"]], change["node"], change["key"]
        places = [change["region"], change["zone"]]
        nodes = role in ("statement", "cosignature")
        if nodes != (node != 0):
            raise Broken("UNKNOWN_KEY", "a node's key, and no other, names its node")
        if change["action"] == ADD:
            used = any(life.key == key for life in self.all())
            if used or not strict_point(key) or self.has_twin(change):
                raise Broken("UNKNOWN_KEY", "a key that is used, unusable or not told apart")
            if nodes:
                member = self.members.setdefault(node, Member(*places))
                if not all(map(is_place, places)) or [member.region, member.zone] != places:
                    raise Broken("UNKNOWN_KEY", "a node's place")
        if (change["action"] != ADD or not nodes) and places != ["", ""]:
            raise Broken("UNKNOWN_KEY", "a place where none belongs")
        if nodes and node not in self.members:
            raise Broken("UNKNOWN_KEY", "a node without keys")
        lives = getattr(self.members[node] if nodes else self, role)
        if change["action"] == ADD:
            lives.append(Life(key, index))
            return
        life = next((life for life in lives if life.key == key), None)
        if life is None:
            raise Broken("UNKNOWN_KEY", "no such key")
        if change["action"] == RETIRE:
            if not life.is_active():
                raise Broken("UNKNOWN_KEY", "a key that is not active")
            if role != "statement" and change["until"]:
                raise Broken("UNKNOWN_KEY", "a key that signs no holdings")
            life.retired, life.last_epoch = index, change["until"]
            return
        until = min(change["until"], index)
        if (life.until is not None and until >= life.until) or until < index and not retroactive:
            raise Broken("UNKNOWN_KEY", "a revocation that is none")
        life.until = until
        life.revoked = index if life.revoked is None else life.revoked

    def is_whole(self):
        roots = sum(life.is_active() for life in self.root)
        signing = any(life.is_active() for member in self.members.values()
                      for life in member.statement)
        return (any(life.is_active() for life in self.log) and signing
                and (not self.operator or any(life.is_active() for life in self.operator))
                and self.threshold <= roots
                and (self.threshold == 0) == (roots == 0))


def genesis_of(genesis):
    """Section 8: the ledger, or why it does not hold."""
    data, opening = genesis
    try:
        record = Record(data)
    except DecodeError as why:
        raise Broken("STRUCTURE", f"the genesis record: {why}") from why
    first = (record.index, record.prev, record.ok, record.kind, record.ledger, record.lane,
             record.seq, record.statement_prev)
    if first != (0, ZERO, True, "GENESIS", ZERO, (0, 0), 0, ZERO):
        raise Broken("STRUCTURE", "the genesis is not the first record")
    if commit("document", ZERO, opening) != record.document:
        raise Broken("OPENING", "the genesis opening")
    try:
        kind, document = decode_document(opening)
    except DecodeError as why:
        raise Broken("STRUCTURE", f"the genesis opening: {why}") from why
    if kind != "GENESIS":
        raise Broken("STRUCTURE", "the genesis opening is of another kind")
    origin, members = document["origin"], document["members"]
    places = [place for member in members for place in (member["region"], member["zone"])]
    named = is_key_name(origin) and is_name(origin)
    if not named or len(origin.encode()) > 255 or not all(map(is_place, places)):
        raise Broken("STRUCTURE", "names in the genesis")
    keys = [document["log"]] + document["roots"] + document["operators"]
    keys += [member[role] for member in members for role in ("statement", "cosignature")]
    nodes = [member["node"] for member in members]
    history = History(document)
    if (not all(map(strict_point, keys)) or len(set(keys)) != len(keys) or 0 in nodes
            or len(set(nodes)) != len(nodes) or not history.is_whole()):
        raise Broken("UNKNOWN_KEY", "keys in the genesis")
    if record.node not in nodes:
        raise Broken("UNKNOWN_KEY", "the founder is no member")
    key = history.members[record.node].statement[0].key
    if not verify(key, b"muniment/statement/v1\n" + record.statement, record.signature):
        raise Broken("BAD_SIGNATURE", "the genesis")
    return Ledger(leaf_hash(data), origin, history)


def level_faults(document):
    """U2."""
    settings = document.get("settings", [])
    critical = any(name == "feature_level" and value >= 1 << 32 for name, value in settings)
    return [("UNKNOWN", "a level that is not understood (U2)")] if critical else []


class Ledger:
    def __init__(self, ledger_id, origin, history):
        self.id, self.origin, self.history = ledger_id, origin, history

    def is_own(self, key):
        return any(life.key == key for life in self.history.all())

    def is_own_cosigner(self, key):
        """Section 12: not outside."""
        return key.name.startswith(self.origin + "/") or self.is_own(key.key)

    def teach(self, record, opening):
        """K3 to K11."""
        if commit("document", ZERO, opening) != record.document:
            raise Broken("OPENING", "the opening of a KEY record")
        try:
            kind, document = decode_document(opening)
        except DecodeError as why:
            raise Broken("OPENING", f"the opening of a KEY record: {why}") from why
        if kind != "KEY":
            raise Broken("OPENING", "the opening of a KEY record is of another kind")
        self.history = self.believed(self.history, record, document)

    def refuses_change(self, history, record, document):
        """The reason by which a ledger refuses it: section 4."""
        try:
            self.believed(history, record, document)
        except Broken as fault:
            return {"serial": 15, "change": 16}.get(str(fault).split(":")[0], 17)
        return None

    def believed(self, before, record, document):
        """K5 to K11, E3, E4."""
        endorsers = self.endorsers(document)
        self.in_place(record, document["endorsements"])
        if document["serial"] != before.serial:
            raise Broken("UNKNOWN_KEY", f"serial: {document['serial']}")
        added = [c["key"] for c in document["changes"] if c["action"] == ADD]
        threshold = before.threshold
        if threshold:
            deciding = sum(life.is_active() and life.key in endorsers for life in before.root)
        else:
            active = [[life.key for life in member.statement if life.is_active()]
                      for member in before.members.values()]
            threshold = len([keys for keys in active if keys]) // 2 + 1
            deciding = sum(bool(endorsers & set(keys)) for keys in active)
        if not set(added) <= endorsers or deciding < threshold:
            raise Broken("UNKNOWN_KEY", "those who must endorse have not")
        if not document["changes"] and document["threshold"] == before.threshold:
            raise Broken("UNKNOWN_KEY", "change: nothing is changed")
        history = copy.deepcopy(before)
        history.bytes += document["length"]
        if history.bytes > 2 * 1024 * 1024:
            raise Broken("UNKNOWN_KEY", "change: no room for more")
        try:
            for change in document["changes"]:
                history.change(record.index, change, before.threshold > 0)
        except Broken as fault:
            raise Broken(fault.name, f"change: {fault}") from fault
        history.serial, history.threshold = history.serial + 1, document["threshold"]
        if not history.is_whole():
            raise Broken("UNKNOWN_KEY", "change: what is left cannot decide")
        return history

    def endorsers(self, document):
        """Whose signatures hold, if all do and none is there twice: K5, E2."""
        given = document["endorsements"]
        signed = b"muniment/endorsement/v1\n" + self.id + given["place"] + document["signed"]
        endorsers = {key for key, _ in given["list"]}
        if len(endorsers) != len(given["list"]) or not all(
                verify(key, signed, signature) for key, signature in given["list"]):
            raise Broken("UNKNOWN_KEY", "endorsements")
        return endorsers

    def in_place(self, record, given):
        """E3 and E4."""
        if given["after"] >= record.index or record.committed_at > given["expires"]:
            raise Broken("UNKNOWN_KEY", "endorsements that do not hold here")

    def order_faults(self, record, document):
        """E1 to E4."""
        operators = {life.key for life in self.history.operator if life.decides(record.index)}
        if not operators or not document["ordered"]:
            return []
        if document["endorsements"] is None:
            return [("UNKNOWN_KEY", "no order is there (E1)")]
        try:
            if not operators & self.endorsers(document):
                raise Broken("UNKNOWN_KEY", "no operator key has signed (E2)")
            self.in_place(record, document["endorsements"])
        except Broken as fault:
            return [(fault.name, str(fault))]
        return []

    def cosigners(self):
        for node, member in sorted(self.history.members.items()):
            name = f"{self.origin}/{member.region}/{member.zone}/{node}"
            for life in member.cosignature:
                yield life, VerifierKey(name, COSIGNATURE, life.key)

    def checkpoint(self, data):
        """C1 to C7: size and root."""
        try:
            note = parse_note(data)
            origin, size, root = parse_checkpoint(note.text)
        except DecodeError as why:
            raise Broken("CHECKPOINT", str(why)) from why
        if origin != self.origin:
            raise Broken("CHECKPOINT", "another origin")
        standings = set()
        for life in self.history.log:
            said = vouch(note, VerifierKey(self.origin, LOG, life.key))
            if said is False:
                raise Broken("CHECKPOINT", "a log signature does not hold")
            if said:
                standings.add(life.at_size(size))
        if IN_FORCE not in standings:
            name = "REVOKED" if REVOKED in standings else "CHECKPOINT"
            raise Broken(name, "no log key in force has signed")
        if any(vouch(note, key) is False for _, key in self.cosigners()):
            raise Broken("CHECKPOINT", "a cosignature does not hold")
        return size, root

    def cleared(self, text, size):
        """The note as a policy judges it: section 12, step 1."""
        note = parse_note(text.encode())
        log = [(life, VerifierKey(self.origin, LOG, life.key)) for life in self.history.log]
        stale = {(key.name, key.id) for life, key in [*self.cosigners(), *log]
                 if life.at_size(size) != IN_FORCE}
        return Note(note.text, [line for line in note.lines if line[:2] not in stale])

    def signed(self, node, standing, message, signature):
        """None, or the class: R4 to R6, H5 to H7."""
        lives = self.history.members[node].statement
        able = [life for life in lives if standing(life) == IN_FORCE]
        if any(verify(life.key, message, signature) for life in able):
            return None
        for life in lives:
            if verify(life.key, message, signature):
                return "UNKNOWN_KEY" if life.until is None else "REVOKED"
        return "BAD_SIGNATURE"

    def statement_faults(self, record):
        """R1 to R7."""
        faults, index = [], record.index
        if record.kind == "GENESIS" or index == 0:
            belongs = record.kind == "GENESIS" and index == 0 and self.is_genesis(record)
        else:
            belongs = record.ledger == self.id
        if not belongs:
            faults.append(("BROKEN_CHAIN", "of another ledger, or another genesis"))
        if record.node not in self.history.members:
            return faults + [("UNKNOWN_KEY", f"node {record.node} is not known")]
        outbox = record.lane[0] == 2
        name = self.signed(
            record.node, lambda life: life.before(index) if outbox else life.at(index),
            b"muniment/statement/v1\n" + record.statement, record.signature)
        faults += [(name, "the statement's signature")] if name else []
        if record.ok and outbox and (record.kind, record.mode) != ("DOWNLOAD", 2):
            faults.append(("LANE", "an outbox carries deferred downloads alone (R7)"))
        return faults

    def is_by_retired(self, record):
        """L20: no key but a retired one has signed what an outbox held back."""
        member = self.history.members.get(record.node)
        if record.lane[0] != 2 or member is None:
            return False
        for life in member.statement:
            in_force = life.before(record.index) == IN_FORCE
            if in_force and verify(life.key, b"muniment/statement/v1\n" + record.statement,
                                   record.signature):
                return life.ended(record.index)
        return False

    def cosigned_at(self, data, size):
        """T9: the median of the members' times, in ms, if most of them have cosigned."""
        note, times, able = parse_note(data), {}, set()
        for node, member in self.history.members.items():
            name = f"{self.origin}/{member.region}/{member.zone}/{node}"
            for life in member.cosignature:
                if life.at_size(size) != IN_FORCE:
                    continue
                able.add(node)
                time = cosigned_time(note, VerifierKey(name, COSIGNATURE, life.key))
                if time is not None:
                    times.setdefault(node, time)
        if 2 * len(times) <= len(able):
            return None
        return sorted(times.values())[len(times) // 2] * 1000 + 999

    def is_genesis(self, record):
        return leaf_hash(record.data) == self.id

    def opening_faults(self, record, shown, actor):
        """O1 to O13: the document if the record commits to it, and the faults."""
        faults, opened, system = [], None, record.kind not in NOT_SYSTEM
        unfit = None
        if shown is None:
            if system and not record.unread:
                faults.append(("MISSING_DATA", "a public opening is not there"))
        else:
            opened, faults = self.document_faults(record, shown, system)
            unfit = opened and opened["unfit"]
        if actor is not None:
            if commit("actor", *actor) != record.actor:
                faults.append(("OPENING", "the actor is another"))
            else:
                try:
                    unfit_actor = decode_actor(actor[1])
                    unfit = unfit or unfit_actor
                except DecodeError as why:
                    if not record.unread:
                        faults.append(("OPENING", f"the actor: {why}"))
        if unfit and record.ok and record.kind not in RESERVED:
            faults.append(("OPENING", unfit))
        return opened, faults

    def document_faults(self, record, shown, system):
        salt, data = shown
        faults = []
        if commit("document", salt, data) != record.document:
            return None, [("OPENING", "the document is another")]
        if system and salt != ZERO and not record.unread:
            faults.append(("OPENING", "a salt where none belongs"))
        if record.kind in RESERVED:
            return None, faults
        try:
            kind, document = decode_document(data)
        except DecodeError as why:
            return None, faults + ([] if record.unread else [("OPENING", str(why))])
        if kind != record.kind:
            return None, faults + (
                [] if record.unread else [("OPENING", f"an opening of kind {kind}")])
        if record.ok:
            faults += self.content_faults(record, document)
        return document, faults

    def content_faults(self, record, document):
        """H1 to H7, O6 to O10."""
        index = record.index
        if "holdings" in document:
            faults = (self.holding_fault(index, holding, document["renditions"])
                      for holding in document["holdings"])
            return [fault for fault in faults if fault]
        if record.kind == "DOWNLOAD":
            fine = document["start"] <= document["end"] <= document["length"]
            return [] if fine else [("OPENING", "the range")]
        if record.kind == "BOOT":
            member = self.history.members.get(record.node)
            fine = member and any(life.key == document["key"] and life.at(index) == IN_FORCE
                                  for life in member.statement)
            return [] if fine else [("UNKNOWN_KEY", "the key of the BOOT")]
        if record.kind == "MEMBERSHIP":
            for node in document["nodes"]:
                member = self.history.members.get(node)
                if not member or all(life.at(index) == NOT_IN_FORCE for life in member.statement):
                    return [("UNKNOWN_KEY", f"node {node} has no key")]
        if record.kind in ("MODE", "POLICY"):
            return self.order_faults(record, document) + level_faults(document)
        if record.kind == "ANCHOR":
            return self.anchor_faults(index, document)
        if record.kind == "BODY_LOST":
            return self.order_faults(record, document) + [("BODY_LOST", "a body is lost (O14)")]
        if record.kind == "WAIVER":
            return self.order_faults(record, document)
        return []

    def anchor_faults(self, index, document):
        data = document["note"].encode()
        try:
            size, _ = self.checkpoint(data)
        except Broken as fault:
            return [(fault.name, str(fault))]
        if size > index:
            return [("OPENING", "a checkpoint of later records")]
        if document["type"] == 2:
            return []
        try:
            key = parse_verifier_key(document["who"])
        except DecodeError as why:
            return [("OPENING", str(why))]
        if key.kind not in (COSIGNATURE, ML_DSA_COSIGNATURE) or vouch(parse_note(data), key) is not True:
            return [("OPENING", "no cosignature of the witness")]
        return []

    def holding_fault(self, index, holding, renditions):
        if holding["ledger"] != self.id:
            return "OPENING", "a holding of another ledger"
        same = [all(holding[part] == rendition[part] for part in ("body", "sha256", "root", "length"))
                for rendition in renditions]
        # Of one chunk, the root is the digest: section 5.4.
        if holding["length"] <= 1 << 20 and holding["root"] != holding["sha256"]:
            return "OPENING", "a root that no such body has"
        if not any(same):
            return "OPENING", "a holding of other bytes"
        member = self.history.members.get(holding["node"])
        if member is None:
            return "UNKNOWN_KEY", "a holding of an unknown node"
        if holding["kind"] == 1 and member.zone != holding["zone"]:
            return "OPENING", "a holding in another zone"
        name = self.signed(holding["node"], lambda life: life.of_holding(index, holding["epoch"]),
                           holding["signed"], holding["signature"])
        return (name, "the signature of a holding") if name else None
