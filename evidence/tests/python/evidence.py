"""Bytes: the codec, statements, records, openings, the tree, frames (FORMAT.md 1 to 5, 7.1, 10).

It promises to refuse whatever is not the one encoding of a value, and never to read a
length before it is there. It leaves what the bytes mean to `ledger` and `verify`.
"""

import unicodedata
from hashlib import sha256

CODES = {
    "UNPINNED": 3, "STRUCTURE": 10, "BAD_SIGNATURE": 11, "BROKEN_CHAIN": 12, "BAD_TREE": 13,
    "FORK": 14, "MISSING_DATA": 15, "LANE": 16, "UNKNOWN_KEY": 17, "CHECKPOINT": 18,
    "OPENING": 19, "DOCUMENT": 20, "TIME": 21, "UNTRUSTED": 22, "POLICY": 23, "REVOKED": 24,
    "LOST": 25, "NOT_DONE": 28, "UNWITNESSED": 29, "UNKNOWN": 30, "BODY_LOST": 31, "RULE": 32,
}
KINDS = ["GENESIS", "BOOT", "ISSUE", "ADD_RENDITION", "DOWNLOAD", "DOWNLOAD_END", "REVERSE", "VOID",
         "MEMBERSHIP", "LEADER", "KEY", "ANCHOR", "CHECK", "MODE", "POLICY", "SNAPSHOT", "RESTORE",
         "RECOVERY", "SCRUB", "DRILL", "EXPORT", "HOLD", "RETENTION", "ERASE", "ERASED", "GAP",
         "TENANT", "GRANT", "CONFIG", "ADMIN", "BODY_LOST", "MONTH", "WAIVER"]
NOT_SYSTEM = {"ISSUE", "ADD_RENDITION", "DOWNLOAD", "DOWNLOAD_END", "REVERSE", "VOID", "CHECK",
              "EXPORT", "HOLD", "RETENTION", "ERASE", "TENANT", "GRANT", "CONFIG", "ADMIN",
              "BODY_LOST", "MONTH", "LATER"}
RESERVED = {"SNAPSHOT", "GAP", "LATER"}
MIB = 1024 * 1024


class DecodeError(Exception):
    """Bytes that are not in the format."""


class Broken(Exception):
    """A check that fails, with its class."""

    def __init__(self, name, detail):
        super().__init__(detail)
        self.name = name


UNSEEN = [(0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800),
          (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8),
          (0xE0000, 0xE0FFF)]


def is_seen(character):
    """Not for characters of category Cn: this Python may know an older Unicode than 18.0.0."""
    code, category = ord(character), unicodedata.category(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return False
    return category not in ("Cc", "Cf", "Zl", "Zp") and not any(
        first <= code <= last for first, last in UNSEEN)


def is_name(text):
    """Section 1.2."""
    blanks = "".join(" " if unicodedata.category(c) == "Zs" else c for c in text)
    return (unicodedata.normalize("NFC", text) == text and all(map(is_seen, text))
            and blanks == blanks.strip(" ") and "  " not in blanks)


class Reader:
    """Section 1: takes values off the front, and notes what is beyond section 5.3."""

    def __init__(self, data):
        self.data, self.at, self.unfit = data, 0, None

    def raw(self, length):
        if len(self.data) - self.at < length:
            raise DecodeError(f"more bytes at {self.at}")
        self.at += length
        return self.data[self.at - length:self.at]

    def number(self, length):
        return int.from_bytes(self.raw(length), "big")

    def u8(self):
        return self.number(1)

    def u32(self):
        return self.number(4)

    def u64(self):
        return self.number(8)

    def digest(self):
        return self.raw(32)

    def flag(self):
        if (value := self.u8()) > 1:
            raise DecodeError(f"0 or 1 at {self.at}")
        return value == 1

    def bytes(self, most=None):
        length = self.u32()
        if most is not None and length > most:
            raise DecodeError(f"at most {most} bytes at {self.at}")
        return self.raw(length)

    def text(self, most=None):
        try:
            return self.bytes(most).decode()
        except UnicodeDecodeError as why:
            raise DecodeError(f"UTF-8 at {self.at}") from why

    def fit(self, fits):
        if not fits and self.unfit is None:
            self.unfit = f"beyond a limit, or no name, before {self.at}"

    def within(self, most):
        text = self.text()
        self.fit(len(text.encode()) <= most)
        return text

    def id(self):
        return self.within(256)

    def words(self):
        return self.within(1024)

    def foreign(self, most):
        self.fit(len(self.bytes()) <= most)

    def code(self, most):
        """One of the codes of a table, which begin with 1."""
        if not 1 <= (code := self.u8()) <= most:
            raise DecodeError(f"a code before {self.at}")
        return code

    def request(self):
        return self.within(200)

    def name(self):
        text = self.id()
        self.fit(is_name(text))
        return text

    def list(self, read, most=None, fit=None):
        items = []
        for _ in range(self.u32()):
            items.append(read(self))
        if most is not None and len(items) > most:
            raise DecodeError(f"at most {most} items")
        self.fit(fit is None or len(items) <= fit)
        return items

    def option(self, read):
        return read(self) if self.flag() else None

    def magic(self, line):
        if self.raw(min(len(line), len(self.data))) != line:
            raise DecodeError("another first line")

    def record(self):
        if len(record := self.bytes()) != 298:
            raise DecodeError("a record of 298 bytes")
        return record

    def opening(self):
        return self.raw(32), self.bytes(MIB)

    def note(self):
        return self.text(256 * 1024)

    def end(self):
        if self.at != len(self.data):
            raise DecodeError(f"the end at {self.at}")


def read_genesis(reader):
    return reader.record(), reader.bytes(MIB)


def read_key_record(reader):
    return reader.record(), reader.bytes(MIB), reader.list(Reader.digest, most=64)


def read_last(reader):
    return reader.record(), reader.list(Reader.digest, most=64)


class Record:
    """Sections 3 and 4."""

    def __init__(self, data):
        self.data, reader = data, Reader(data)
        if reader.u8() != 2:
            raise DecodeError("record version 2")
        self.index, self.prev, self.committed_at = reader.u64(), reader.digest(), reader.u64()
        self.keys = reader.u64()
        self.outcome, self.reason = reader.u8(), reader.number(2)
        self.duplicate_of = reader.u64()
        fine = {0: self.reason == 0 and self.duplicate_of == 0,
                1: self.reason != 0 and self.duplicate_of == 0,
                2: self.reason == 0}
        if not fine.get(self.outcome):
            raise DecodeError("an outcome")
        self.ok = self.outcome == 0
        # MALFORMED or FEATURE_LEVEL: nothing is asked of the openings but the commitment.
        self.unread = self.outcome == 1 and self.reason in (10, 12)
        self.statement = reader.raw(166)
        self.signature = reader.raw(64)
        reader.end()
        self.decode_statement(Reader(self.statement))
        self.statement_hash = sha256(b"muniment/statement-hash/v1\n" + self.statement).digest()

    def decode_statement(self, reader):
        if reader.u8() != 1:
            raise DecodeError("statement version 1")
        code, mode = reader.u8(), reader.u8()
        level, number = reader.u8(), reader.u8()
        if code == 0 or mode > 2 or level > 4 or (level in (2, 3)) != (number > 0):
            raise DecodeError("a kind, mode or level")
        self.kind = KINDS[code - 1] if code <= len(KINDS) else "LATER"
        # Section 3.1: what is not understood.
        self.critical = self.ok and (self.kind in ("RESTORE", "RECOVERY") or code >= 128)
        self.mode, self.level = mode, (level, number)
        self.ledger, self.node = reader.digest(), reader.u64()
        self.lane = (reader.u8(), reader.u64())
        if self.lane[0] > 2 or (self.lane[0] == 0 and self.lane[1] != 0):
            raise DecodeError("a lane")
        self.seq, self.statement_prev = reader.u64(), reader.digest()
        self.witnessed_at = reader.u64()
        self.document, self.actor = reader.digest(), reader.digest()
        reader.end()


def read_rendition(r):
    role, media_type, length = r.id(), r.id(), r.u64()
    return {"role": role, "type": media_type, "length": length, "sha256": r.digest(),
            "root": r.digest(), "body": r.raw(16)}


def read_holding(r):
    begin = r.at
    holding = {"kind": r.code(2), "ledger": r.digest(), "body": r.raw(16), "sha256": r.digest(), "root": r.digest(),
               "length": r.u64(), "node": r.u64(), "incarnation": r.raw(16), "zone": r.id(), "epoch": r.u64()}
    holding["signed"] = b"muniment/holding/v1\n" + r.data[begin:r.at]
    holding["signature"] = r.raw(64)
    return holding


def read_money(r):
    money = int.from_bytes(r.raw(8), "big", signed=True), r.id(), r.u8()
    r.fit(money[2] <= 6)
    return money


def read_party(r):
    return r.id(), r.id(), r.words()


def read_metadata(r):
    begin = r.at
    identity = tuple(r.name() for _ in range(5))
    others = r.list(lambda r: (r.name(), r.name()), fit=32)
    r.id(), r.id()
    r.option(read_party)
    r.option(read_party)
    total = r.option(read_money)
    r.list(lambda r: (r.id(), r.u32(), read_money(r), read_money(r)), fit=32)
    references = r.list(read_reference, fit=32)
    r.id(), r.id()
    r.list(lambda r: (r.id(), r.words()), fit=32)
    r.list(lambda r: (r.id(), r.id()), fit=32)
    return {"tenant": identity[0], "identity": identity, "others": others, "total": total,
            "references": references, "bytes": r.data[begin:r.at]}


def read_reference(r):
    relation, target, _ = r.id(), r.words(), r.option(Reader.digest)
    return {"relation": relation, "target": target, "amount": r.option(read_money)}


def read_change(r):
    action, until, role = r.u8(), r.u64(), r.u8()
    if not 1 <= action <= 3 or (action == 1 and until) or not 1 <= role <= 5:
        raise DecodeError("an action or role")
    return {"action": action, "until": until, "role": role, "node": r.u64(), "region": r.name(),
            "zone": r.name(), "key": r.digest()}


def read_endorsements(r):
    """Section 6.5: what is signed is the opening up to here."""
    return {"after": r.u64(), "leaf": r.digest(), "expires": r.u64(),
            "place": r.data[r.at - 48:r.at],
            "list": r.list(lambda r: (r.digest(), r.raw(64)), most=128)}


def read_key_document(r):
    document = {"serial": r.u64(), "changes": r.list(read_change, most=64), "threshold": r.u8()}
    document["signed"] = r.data[:r.at]
    document["endorsements"] = read_endorsements(r)
    document["length"] = r.at
    return document


def read_mode(r):
    phase = r.u8()
    r.u64()
    voters, learners, _ = (r.list(Reader.u64, fit=64) for _ in range(3))
    prepared = r.option(Reader.u64)
    if not 1 <= phase <= 3 or (prepared is None) != (phase == 1):
        raise DecodeError("a phase, and where it was prepared")
    r.words()
    signed, order = r.data[:r.at], r.option(read_endorsements)
    if order and phase != 1:
        raise DecodeError("an order in PREPARE alone")
    return {"phase": phase, "voters": voters, "learners": learners, "ordered": phase == 1,
            "signed": signed, "endorsements": order}


def read_policy(r):
    settings = read_settings(r)["settings"]
    ordered, signed = any(name != "upload_epoch" for name, _ in settings), r.data[:r.at]
    return {"settings": settings, "ordered": ordered, "signed": signed,
            "endorsements": r.option(read_endorsements)}


def read_issue(r):
    return {"uid": r.raw(16), "request": r.request(), "metadata": read_metadata(r),
            "renditions": r.list(read_rendition, fit=32),
            "holdings": r.list(read_holding, fit=256)}


def read_added(r):
    return {"tenant": r.name(), "uid": r.raw(16), "request": r.request(),
            "renditions": [read_rendition(r)], "holdings": r.list(read_holding, fit=256)}


def read_download(r):
    tenant, uid, _ = r.name(), r.raw(16), r.id()
    document = {"tenant": tenant, "uid": uid, "sha256": r.digest(), "root": r.digest(), "start": r.u64(), "end": r.u64(),
                "length": r.u64()}
    document["deadline"] = r.option(Reader.u64)
    return document


def read_member(r):
    return {"node": r.u64(), "region": r.name(), "zone": r.name(), "statement": r.digest(),
            "cosignature": r.digest()}


def read_outbox(r):
    return {"id": r.u64(), "next": r.u64(), "last": r.digest(), "lost": r.flag()}


def read_ended(r):
    download, length, _ = r.u64(), r.u64(), r.flag()
    return download, length


def read_void(r):
    return {"texts": (r.name(), r.raw(16), r.request(), r.words())}


def read_membership(r):
    r.u64()
    sets = r.list(lambda r: r.list(Reader.u64, fit=64), fit=2)
    learners = r.list(Reader.u64, fit=64)
    return {"voters": sets, "nodes": [node for voters in sets for node in voters] + learners}


def read_scrub(r):
    body, chunk = r.raw(16), r.option(Reader.u32)
    found, how, outcome, node = r.u8(), r.u8(), r.u8(), r.u64()
    if not (1 <= found <= 4 and 1 <= how <= 3 and (outcome, node == 0) in ((1, True), (2, False))):
        raise DecodeError("what a SCRUB found")
    return {"body": body, "chunk": chunk}


def read_anchor(r):
    document = {"type": r.code(2), "note": r.within(64 * 1024), "who": r.words()}
    if document["type"] == 2:
        r.foreign(64 * 1024)
    return document


def read_drill(r):
    r.id(), r.id(), r.list(Reader.u64, fit=64), r.id(), r.u64(), r.u64(), r.option(Reader.u64)
    r.list(lambda r: (r.id(), r.option(Reader.u64)), fit=64)
    return {}


def sound(fine, document=None):
    if not fine:
        raise DecodeError("a document that contradicts itself")
    return document or {}


def read_texts(r, most=32):
    r.list(lambda r: (r.id(), r.words()), fit=most)


def read_approvals(r):
    r.list(lambda r: (r.words(), r.words(), r.u64(), r.words()), fit=8)


def read_uids(r):
    r.list(lambda r: r.raw(16), fit=256)


def read_settings(r):
    return {"settings": r.list(lambda r: (r.id(), r.u64()), fit=32)}


def read_tenant(r):
    r.name(), r.request(), r.u64(), r.code(2), r.id(), r.name(), r.name()
    read_settings(r), read_texts(r), r.words(), r.option(read_endorsements)
    return {}


def read_grant(r):
    r.request(), r.code(2), r.words(), r.words(), r.id()
    r.list(Reader.id, fit=32), r.list(Reader.name, fit=32), r.flag(), r.option(Reader.u64)
    r.words(), r.option(read_endorsements)
    return {}


def read_config(r):
    r.code(2), r.digest(), read_texts(r, 256)
    return {}


def read_admin(r):
    r.request(), r.id(), r.name(), r.words(), r.code(3), r.id(), r.words(), read_texts(r)
    return {}


def read_check(r):
    r.name(), r.code(5), r.words(), r.code(4), r.u64()
    r.list(lambda r: (r.raw(16), r.u64(), r.code(4)), fit=256)
    return {}


def read_export(r):
    r.name(), r.request()
    ended, begun = r.code(2) == 2, r.option(Reader.u64)
    r.words(), r.words(), [r.u64() for _ in range(6)]
    digest = r.option(Reader.digest)
    return sound((begun is not None) == ended and (ended or digest is None))


def read_hold(r):
    r.name(), r.request(), r.code(2), r.id(), read_uids(r), r.words(), read_approvals(r)
    return {}


def read_retention(r):
    r.name(), r.request(), r.id(), r.code(3)
    clock, year_end = r.code(3), r.id()
    r.u32(), r.name(), r.name(), r.id(), r.words(), read_approvals(r)
    return sound((year_end != "") == (clock == 3))


def read_erase(r):
    r.name(), r.request(), r.code(3)
    parts = r.u8()
    read_uids(r)
    ranges = r.list(lambda r: (r.u64(), r.u64()), fit=256)
    r.words(), read_approvals(r)
    return sound(1 <= parts <= 7 and all(first <= end for first, end in ranges))


def read_erased(r):
    r.u64(), r.code(3), r.u64(), r.u64(), r.u64()
    return {}


def read_lost(r):
    tenant, uid, role, body = r.name(), r.raw(16), r.id(), r.raw(16)
    sha256_, _, length = r.digest(), r.digest(), r.u64()
    r.list(Reader.u64, fit=64), r.words()
    return {"body": body, "named": (tenant, uid, role, body, sha256_, length), "ordered": True, "signed": r.data[:r.at], "endorsements": read_endorsements(r)}


def read_waiver(r):
    index, leaf = r.u64(), r.digest()
    r.id(), r.words()
    return {"index": index, "leaf": leaf, "ordered": True, "signed": r.data[:r.at], "endorsements": read_endorsements(r)}


def read_epoch(restore):
    def read(r):
        epoch, _, size, _, known = r.u64(), r.name(), r.u64(), r.digest(), r.u64()
        backup = r.option(Reader.digest)
        r.list(Reader.u64, fit=64), r.list(read_change, fit=64), r.u8(), r.words()
        read_endorsements(r)
        return sound(epoch > 0 and 0 < size <= known and (backup is not None) == restore)
    return read


def read_sum(r):
    place = r.id(), r.u8(), r.u8()
    r.fit(place[1] <= 6)
    count = r.u64()
    r.raw(16)
    sound(place[2] in (3, 7, 8) and count > 0)
    return (place[0].encode(), *place[1:]), count


def read_month(r):
    r.name(), r.id()
    number, previous, _, count, _ = r.u64(), r.option(Reader.u64), r.u64(), r.u64(), r.digest()
    sums = r.list(read_sum, fit=256)
    places = [place for place, _ in sums]
    counted = sum(count for place, count in sums if place[2] != 8)
    return sound((previous is not None) == (number > 0) and counted == count
                 and all(a < b for a, b in zip(places, places[1:])))


DOCUMENTS = {
    "GENESIS": lambda r: {"origin": r.name(), "log": r.digest(),
                          "members": r.list(read_member, fit=64), "threshold": r.u8(),
                          "roots": r.list(Reader.digest, fit=64),
                          "operators": r.list(Reader.digest, fit=16)},
    "BOOT": lambda r: {"incarnation": r.raw(16), "key": r.digest(), "software": r.words(),
                       "outboxes": r.list(read_outbox, fit=16)},
    "ISSUE": read_issue,
    "REVERSE": read_issue,
    "ADD_RENDITION": read_added,
    "DOWNLOAD": read_download,
    "DOWNLOAD_END": lambda r: {"tenant": r.name(), "ends": r.list(read_ended, fit=1000)},
    "VOID": read_void,
    "MEMBERSHIP": read_membership,
    "LEADER": lambda r: {"numbers": (r.u64(), r.u64(), r.u64())},
    "KEY": read_key_document,
    "ANCHOR": read_anchor,
    "POLICY": read_policy,
    "SCRUB": read_scrub,
    "MODE": read_mode,
    "DRILL": read_drill,
    "TENANT": read_tenant,
    "GRANT": read_grant,
    "CONFIG": read_config,
    "ADMIN": read_admin,
    "CHECK": read_check,
    "EXPORT": read_export,
    "HOLD": read_hold,
    "RETENTION": read_retention,
    "ERASE": read_erase,
    "ERASED": read_erased,
    "BODY_LOST": read_lost,
    "WAIVER": read_waiver,
    "RESTORE": read_epoch(True),
    "RECOVERY": read_epoch(False),
    "MONTH": read_month,
}


def decode_document(data):
    """Section 5: the kind and what it says."""
    reader = Reader(data)
    version, code = reader.u8(), reader.u8()
    if version != 1 or not 1 <= code <= len(KINDS) or KINDS[code - 1] not in DOCUMENTS:
        raise DecodeError("an opening of a known kind, version 1")
    kind = KINDS[code - 1]
    document = DOCUMENTS[kind](reader)
    document["unfit"] = reader.unfit
    reader.end()
    return kind, document


def decode_actor(data):
    reader = Reader(data)
    if reader.u8() != 1:
        raise DecodeError("opening version 1")
    reader.words(), reader.words(), reader.name(), reader.list(Reader.id, fit=32)
    reader.id(), reader.id(), reader.words(), reader.words(), reader.id()
    reader.option(lambda r: (r.u8(), r.foreign(16 * 1024), r.foreign(16 * 1024)))
    reader.end()
    return reader.unfit


def leaf_hash(record):
    return sha256(b"\0" + record).digest()


def node_hash(left, right):
    return sha256(b"\1" + left + right).digest()


def root_by_path(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2; None where the path is not of such a tree."""
    if index >= size:
        return None
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            node = node_hash(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = node_hash(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    return node if sn == 0 else None


def consistent(old, new, path, old_root, new_root):
    """RFC 9162 section 2.1.4.2."""
    if old > new or (old == 0 and old_root != sha256(b"").digest()):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path
    path = list(path)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(node, fr), node_hash(node, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, node)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and (fr, sr) == (old_root, new_root)


def read_manifest(r):
    manifest = {"origin": r.text(255), "ledger": r.digest(), "first": r.u64(), "end": r.u64(),
                "head": r.u64(), "selection": r.text(1024)}
    if not manifest["first"] <= manifest["end"] <= manifest["head"] <= 1 << 62:
        raise DecodeError("a range")
    manifest["peaks"] = r.list(Reader.digest, most=64)
    if len(manifest["peaks"]) != bin(manifest["first"]).count("1"):
        raise DecodeError("one peak per set bit")
    manifest["genesis"] = read_genesis(r)
    return manifest


def read_record_frame(proven):
    def read(r):
        frame = (r.record(), r.option(Reader.opening), r.option(Reader.opening))
        return frame + (r.list(Reader.digest, most=64) if proven else None,)
    return read


FRAMES = {
    1: ("take_manifest", read_manifest),
    4: ("take_key", read_key_record),
    2: ("take_record", read_record_frame(False)),
    5: ("take_record", read_record_frame(True)),
    6: ("take_last", read_last),
    3: ("take_checkpoint", lambda r: (r.note(), r.list(Reader.digest, most=65))),
}
ORDER = {1: 0, 4: 1, 2: 2, 5: 2, 6: 3, 3: 4, 255: 5}


def frames(data):
    """Section 10, checks 1, 2, 26, 27: yields what to do and with what."""
    magic = b"muniment-bundle/v2\n"
    if not magic.startswith(data[:len(magic)]):
        raise Broken("STRUCTURE", "another first line")
    truncated = Broken("MISSING_DATA", "the stream does not reach END")
    at, stage, keys, counts, selects = len(magic), -1, 0, {}, False
    while True:
        if len(data) - at < 5:
            raise truncated
        kind, length = data[at], int.from_bytes(data[at + 1:at + 5], "big")
        if kind not in ORDER or length > 4 * MIB or (kind == 4 and keys == 1024):
            raise Broken("STRUCTURE", f"a frame at {at}")
        if len(data) - at - 5 < length:
            raise truncated
        once = kind in (1, 6, 255)
        if (ORDER[kind] < stage or (stage == -1) != (kind == 1) or (once and ORDER[kind] == stage)
                or kind == (2 if selects else 5)):
            raise Broken("STRUCTURE", f"a frame out of order at {at}")
        reader = Reader(data[at + 5:at + 5 + length])
        try:
            if kind == 255:
                counted = reader.list(lambda r: (r.u8(), r.u8(), r.u64()))
                digest = reader.digest()
                reader.end()
                codes = [row[:2] for row in counted]
                if codes != sorted(set(codes)) or any(row[2] == 0 for row in counted):
                    raise DecodeError("counts in order")
                break
            frame = FRAMES[kind][1](reader)
            reader.end()
        except DecodeError as why:
            raise Broken("STRUCTURE", f"a frame at {at}: {why}") from why
        keys += kind == 4
        if kind == 1:
            selects = frame["selection"] != ""
        if kind in (2, 5):
            code = (frame[0][69], frame[0][57])
            counts[code] = counts.get(code, 0) + 1
        yield FRAMES[kind][0], frame
        stage, at = ORDER[kind], at + 5 + length
    if sha256(b"muniment/bundle/v1\n" + data[:at]).digest() != digest:
        raise Broken("STRUCTURE", "the digest in END")
    if counted != [code + (count,) for code, count in sorted(counts.items())]:
        raise Broken("MISSING_DATA", "the counts in END")
    if at + 5 + length != len(data):
        raise Broken("STRUCTURE", "bytes after END")
