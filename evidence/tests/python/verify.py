#!/usr/bin/env python3
"""An independent verifier of Muniment's evidence, format v2.

What it is for: it was written from FORMAT.md and without the Rust code, so that where
both agree on the frozen vectors, the document says enough. Sections and ids of
checks below are those of FORMAT.md. It promises the same exit code, set of classes, each with its least
index, as muniment-verify. It leaves speed, words for people, and everything but receipts,
bundles and promises to that program.

    verify.py receipt FILE [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE]
                    [--max-age SECONDS] [--document FILE] [--issued] [--strict]
    verify.py bundle FILE [--trust FILE] [--policy FILE] [--keys FILE] [--head FILE] [--level 0..6]
                    [--require-judged] [--strict]
    verify.py promise FILE [--trust FILE] [--keys FILE]
                    [--bundle FILE [--policy FILE] [--head FILE] [--strict]]
    verify.py manifest FILE

Needs Python 3.9 and the package `cryptography`. Prints one line of JSON; for a manifest
(a table with file and arguments in its first columns) one for each line of it.
"""

import json
import os
import sys
import time
from hashlib import sha256

from checkpoint import Policy, Trust, parse_checkpoint, parse_note, vouch
from evidence import (CODES, Broken, DecodeError, Reader, Record, consistent, decode_document,
                      frames, leaf_hash,
                      node_hash, read_genesis, read_key_record, read_last, root_by_path)
from fate import CODES as FATES, NOT_KEPT, Fate
from ledger import History, Ledger, genesis_of
from rules import Rules

MIB = 1024 * 1024


# Section 14: the gravest first.
GRAVEST_FIRST = ("UNKNOWN FORK UNTRUSTED BAD_TREE BROKEN_CHAIN BAD_SIGNATURE STRUCTURE CHECKPOINT LANE "
                 "RULE OPENING UNKNOWN_KEY TIME REVOKED MISSING_DATA POLICY DOCUMENT NOT_DONE "
                 "LOST BODY_LOST").split()


class Report:
    """A set of classes, each with the least index at which it shows; the gravest decides."""

    def __init__(self):
        self.findings, self.told, self.lessons, self.ledger = [], [], None, None
        self.witnessed, self.promised = True, None

    def find(self, name, index, detail):
        (self.told if name in ("LOST", "BODY_LOST") else self.findings).append((name, index, detail))

    def end(self, pinned, strict):
        found = {}
        for name, index, _ in self.findings + (self.told if strict else []):
            known = [at for at in (found.get(name), index) if at is not None]
            found[name] = min(known, default=None)
        classes = [(name, found[name]) for name in GRAVEST_FIRST if name in found]
        if not classes and not pinned:
            classes = [("UNPINNED", None)]
        elif not classes and not self.witnessed:
            classes = [("UNWITNESSED", None)]
        code = CODES[classes[0][0]] if classes else 0
        details = [detail for _, _, detail in self.findings]
        return {"exit_code": code, "classes": classes, "details": details}


def open_ledger(genesis, trust, report):
    """Section 8 and the pin."""
    try:
        ledger = genesis_of(genesis)
    except Broken as fault:
        report.find(fault.name, None, str(fault))
        return None
    if trust and (trust.origin, trust.genesis) != (ledger.origin, ledger.id):
        report.find("UNTRUSTED", None, "the pin names another ledger")
    return ledger


class Lessons:
    """KEY records in evidence: section 6.2."""

    def __init__(self, claimed):
        self.claimed, self.taken, self.leaves, self.led_to = claimed, [], {}, []
        self.keys, self.faults, self.tied, self.in_tree = [], [], False, False

    def take(self, ledger, key, report):
        record_bytes, opening, path = key
        try:
            record = Record(record_bytes)
        except DecodeError as why:
            report.find("STRUCTURE", None, f"a KEY record: {why}")
            return False
        last = self.taken[-1].index if self.taken else -1
        in_order = last < record.index < self.claimed
        if in_order and record.critical:
            report.find("UNKNOWN", record.index, "among the KEY records (U1)")
            return False
        if not (in_order and record.ok and record.kind == "KEY"):
            report.find("BROKEN_CHAIN", record.index, "no KEY record, or not the next (K2)")
            return False
        faults = ledger.statement_faults(record)
        try:
            ledger.teach(record, opening)
        except Broken as fault:
            report.find(fault.name, record.index, str(fault))
            return False
        self.faults += [(name, record.index, detail) for name, detail in faults]
        leaf = leaf_hash(record_bytes)
        self.taken.append(record)
        self.keys.append((record, leaf, opening))
        self.leaves[record.index] = leaf
        self.led_to.append((record.index, root_by_path(leaf, record.index, self.claimed, path)))
        return True

    def join(self, known, ledger, size, report):
        """Section 6.4: what the auditor knows already."""
        if known is None or known.ledger != ledger.id:
            return
        for record, leaf, opening in known.keys:
            if record.index < size:
                if self.leaves.get(record.index) != leaf:
                    report.find("FORK", record.index, "a known change of keys is not shown")
            else:
                try:
                    ledger.teach(record, opening)
                except Broken:
                    report.find("FORK", record.index, "a known change of keys does not go on")
        last = known.keys[-1][0].index if known.keys else -1
        indexes = {record.index for record, _, _ in known.keys}
        for index in self.leaves:
            if index < last and index not in indexes:
                return report.find("FORK", index, "a change of keys that is not known")

    def judge(self, report):
        """By the keys that were in force at each."""
        for fault in self.faults:
            report.find(*fault)

    def has(self, record, leaf):
        return self.leaves.get(record.index) == leaf

    def compare(self, root, report):
        for index, led_to in self.led_to:
            if led_to != root:
                report.find("BAD_TREE", index, "the path of the KEY record leads elsewhere")
        self.in_tree = all(led_to == root for _, led_to in self.led_to)

    def miscounted(self, record, report):
        below = sum(key.index < record.index for key in self.taken)
        if record.keys != below:
            name = "MISSING_DATA" if record.keys > below else "BROKEN_CHAIN"
            report.find(name, record.index, f"counts {record.keys} KEY records, not {below}")
        return record.keys != below

    def tie(self, last, shown, size, root, cosigned_at, report):
        """Section 6.3."""
        if last is None:
            if shown is None or shown.index != size - 1:
                return report.find("MISSING_DATA", None, "the last record is not shown")
            record = shown
        else:
            try:
                record = Record(last[0])
            except DecodeError as why:
                return report.find("STRUCTURE", None, f"the last record: {why}")
            if record.index != size - 1 or (shown and shown.index == size - 1):
                return report.find("BROKEN_CHAIN", record.index, "not the last record")
            if root_by_path(leaf_hash(last[0]), record.index, size, last[1]) != root:
                return report.find("BAD_TREE", record.index, "the last record leads elsewhere")
        counted = record.keys + (record.ok and record.kind == "KEY")
        if counted != len(self.taken):
            name = "MISSING_DATA" if counted > len(self.taken) else "BROKEN_CHAIN"
            return report.find(name, None, f"{counted} KEY records, {len(self.taken)} are shown")
        self.tied = self.in_tree
        if cosigned_at is not None and record.committed_at > cosigned_at + 60_000:
            report.find("TIME", record.index, "the last record is of later than its cosignatures (T9)")
        return None

    def before(self, genesis, ledger, index):
        """The history as the records below left it."""
        history = History(decode_document(genesis[1])[1])
        for record, _, opening in self.keys:
            if record.index < index:
                history = ledger.believed(history, record, decode_document(opening)[1])
        return history

    def unlisted(self, record, leaf, report):
        if record.ok and record.kind == "KEY" and self.leaves.get(record.index) != leaf:
            report.find("BROKEN_CHAIN", record.index, "a KEY record that was not listed")


def understood(record, report):
    """U1."""
    if record.critical:
        report.find("UNKNOWN", record.index, f"a {record.kind} that is not understood (U1)")


def verify_receipt(data, trust=None, policy=None, document=None, known=None, issued=False,
                   head=None, max_age=None):
    """Section 9."""
    report = Report()
    report.witnessed = policy is not None or known is not None
    try:
        if len(data) > 4 * MIB:
            raise DecodeError("too long")
        reader = Reader(data)
        reader.magic(b"muniment-receipt/v2\n")
        genesis = read_genesis(reader)
        keys = reader.list(read_key_record, most=1024)
        record_bytes = reader.record()
        shown = reader.option(Reader.opening)
        actor = reader.option(Reader.opening)
        path = reader.list(Reader.digest, most=64)
        last = reader.option(read_last)
        note = reader.note()
        reader.end()
    except DecodeError as why:
        report.find("STRUCTURE", None, str(why))
        return report
    ledger = open_ledger(genesis, trust, report)
    if not ledger:
        return report
    try:
        claimed = parse_checkpoint(note[: note.rfind("\n\n") + 1])[1]
    except DecodeError:
        claimed = 0
    lessons = Lessons(claimed)
    for key in keys:
        if not lessons.take(ledger, key, report):
            return report
    lessons.join(known, ledger, claimed, report)
    report.lessons, report.ledger = lessons, ledger.id
    lessons.judge(report)
    try:
        record = Record(record_bytes)
    except DecodeError as why:
        report.find("STRUCTURE", None, str(why))
        return report
    leaf = leaf_hash(record_bytes)
    opened, faults = ledger.opening_faults(record, shown, actor)
    if not lessons.has(record, leaf):
        faults = ledger.statement_faults(record) + faults
    for name, detail in faults:
        report.find(name, record.index, detail)
    understood(record, report)
    lessons.unlisted(record, leaf, report)
    lessons.miscounted(record, report)
    try:
        size, root = ledger.checkpoint(note.encode())
        lessons.compare(root, report)
        if root_by_path(leaf, record.index, size, path) != root:
            report.find("BAD_TREE", record.index, "the path leads elsewhere")
        lessons.tie(last, record, size, root, ledger.cosigned_at(note.encode(), size), report)
        if head is not None:
            compare_saved(ledger, head, size, root, report)
        if policy:
            cleared = ledger.cleared(note, size)
            why = policy.lacks(cleared)
            times = [] if why or max_age is None else policy.times(cleared)
            if why:
                report.find("POLICY", None, why)
            elif max_age is not None and not times:
                report.find("MISSING_DATA", None, "no witness says how old this is (A3)")
            elif max_age is not None and time.time() - max(times) > max_age:
                report.find("POLICY", None, "the cosignatures are too old (A4)")
    except Broken as fault:
        report.find(fault.name, None, str(fault))
    if issued and record.kind not in ("ISSUE", "REVERSE"):
        report.find("NOT_DONE", record.index, "a record that issues nothing")
    elif (issued or document is not None) and not record.ok:
        report.find("NOT_DONE", record.index, "the outcome is not OK")
    if document is not None:
        given = (sha256(document).digest(), len(document))
        known = []
        if opened and "renditions" in opened:
            known = [(r["sha256"], r["length"]) for r in opened["renditions"]]
        elif opened and record.kind == "DOWNLOAD":
            known = [(opened["sha256"], opened["length"])]
        if given not in known:
            report.find("DOCUMENT", record.index, "the given document is another")
    return report


def compare_saved(ledger, head, size, root, report):
    """F2, F3 of a receipt."""
    try:
        saved_size, saved_root = ledger.checkpoint(head)
    except Broken as fault:
        return report.find(fault.name, None, str(fault))
    if saved_size != size or size == 0:
        return report.find("MISSING_DATA", None, "the saved head is of another size")
    if saved_root != root:
        report.find("FORK", None, "the saved head has another root")
    return None


def verify_promise(data, trust=None, known=None):
    """Section 20."""
    report, last_index = Report(), 2**64 - 1
    try:
        if len(data) > 4 * MIB:
            raise DecodeError("too long")
        reader = Reader(data)
        reader.magic(b"muniment-promise/v2\n")
        genesis = read_genesis(reader)
        keys = reader.list(lambda r: (r.record(), r.bytes(MIB), []), most=1024)
        statement, signature = reader.raw(166), reader.raw(64)
        shown, actor = reader.opening(), reader.opening()
        reader.end()
        # As an OK record at the end of everything: position, statement, signature.
        place = b"\x02" + last_index.to_bytes(8, "big") + bytes(32 + 8)
        record = Record(place + len(keys).to_bytes(8, "big") + bytes(11) + statement + signature)
    except DecodeError as why:
        report.find("STRUCTURE", None, str(why))
        return report
    ledger = open_ledger(genesis, trust, report)
    if not ledger:
        return report
    lessons = Lessons(last_index)
    for key in keys:
        if not lessons.take(ledger, key, report):
            return report
    size = lessons.taken[-1].index + 1 if lessons.taken else 0
    lessons.join(known, ledger, size, report)
    lessons.judge(report)
    if (record.kind, record.mode, record.lane[0]) != ("DOWNLOAD", 2, 2):
        report.find("STRUCTURE", None, "no deferred download in an outbox")
        return report
    opened, faults = ledger.opening_faults(record, shown, actor)
    for name, detail in ledger.statement_faults(record) + faults:
        report.find(name, None, detail)
    if opened:
        report.promised, report.ledger = Fate(record, opened), ledger.id
    return report


def verify_fate(data, trust, policy, head, known, shown, strict):
    """Section 20: what a bundle says of a promise."""
    pinned = trust is not None
    promise = verify_promise(data, trust)
    if promise.findings:
        return promise.end(pinned, strict)
    fate, bundle = promise.promised, Bundle(trust, policy, head, 5, known)
    bundle.fate = fate
    report = bundle.verify(shown)
    result = report.end(pinned, strict)
    if report.findings or (strict and report.told):
        return result
    if bundle.ledger.id != promise.ledger:
        report.find("UNTRUSTED", None, "the bundle is of another ledger than the promise")
        return report.end(pinned, strict)
    if not fate.stands():
        for keys in filter(None, (Known.of(report), known)):
            again = verify_promise(data, trust, keys)
            if again.findings:
                return again.end(pinned, strict)
    name, index = fate.told()
    code = FATES.get(name, NOT_KEPT)
    return {"exit_code": code or result["exit_code"], "classes": result["classes"],
            "fate": [name, index], "details": []}


class Tree:
    """Peaks, and all leaves for level 6: section 7.1."""

    def __init__(self, size=0, peaks=()):
        self.size, self.peaks = size, list(peaks)

    def append(self, leaf):
        size, node = self.size, leaf
        while size & 1:
            node = node_hash(self.peaks.pop(), node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256(b"").digest()
        fold = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            fold = node_hash(peak, fold)
        return fold


class Bundle:
    """Section 10."""

    def __init__(self, trust, policy, head, level, known=None):
        self.trust, self.policy, self.head_note, self.level = trust, policy, head, level
        self.report, self.manifest, self.ledger = Report(), None, None
        self.begun, self.whole, self.head = False, True, None
        self.count, self.newest, self.end_root = 0, None, None
        self.met, self.lacking, self.astray = False, None, {}
        self.leaves, self.anchors, self.last = [], [], None
        self.known, self.fate, self.miscounted = known, None, False

    def find(self, name, index, detail):
        self.report.find(name, index, detail)

    def verify(self, data):
        try:
            for kind, frame in frames(data):
                getattr(self, kind)(frame)
        except Broken as fault:
            if self.manifest:
                self.begin()
            self.find(fault.name, None, str(fault))
            return self.report
        self.begin()
        self.conclude()
        return self.report

    def take_manifest(self, manifest):
        self.manifest = manifest
        self.selects = manifest["selection"] != ""
        self.ledger = open_ledger(manifest["genesis"], self.trust, self.report)
        if self.ledger and (self.ledger.origin, self.ledger.id) != (
                manifest["origin"], manifest["ledger"]):
            self.find("STRUCTURE", None, "the manifest names another ledger (B11)")
        self.lessons = Lessons(manifest["head"])
        self.first = self.next = manifest["first"]
        self.tree = Tree(self.first, manifest["peaks"])
        self.prev = bytes(32) if self.first == 0 else None
        if self.first % 2 == 1:
            self.prev = manifest["peaks"][-1]
        self.time, self.lanes, self.boots = 0, {}, {}
        self.outboxes, self.marks = {}, {}
        self.rules, self.unplaced = Rules(self.first), 0
        if self.fate:
            self.fate.begin(manifest)

    def take_key(self, key):
        if self.ledger:
            self.lessons.take(self.ledger, key, self.report)

    def take_last(self, last):
        self.last = last

    def begin(self):
        """What is asked of KEY records and of the saved head, and F1 before the first record."""
        if self.begun:
            return
        self.begun = True
        if not self.ledger:
            return
        self.lessons.join(self.known, self.ledger, self.manifest["head"], self.report)
        self.report.lessons, self.report.ledger = self.lessons, self.ledger.id
        if self.level >= 1:
            self.lessons.judge(self.report)
        if self.head_note is not None and self.level >= 3:
            try:
                self.head = self.ledger.checkpoint(self.head_note)
            except Broken as fault:
                self.find(fault.name, None, str(fault))
        self.compare_head(self.tree)

    def compare_head(self, tree):
        if self.head and not self.selects and self.head[0] == tree.size > 0:
            if self.head[1] != tree.root():
                self.find("FORK", None, "the saved head has another root")
            self.head = None

    def take_record(self, frame):
        self.begin()
        record_bytes, shown, actor, path = frame
        leaf = leaf_hash(record_bytes)
        try:
            record = Record(record_bytes)
        except DecodeError as why:
            self.find("STRUCTURE", self.next, str(why))
            if self.whole:
                self.marks[self.next] = None
            self.rules.whole = False
            self.next, self.prev = self.next + 1, leaf
            self.grow(leaf)
            return
        index, opened, faults = record.index, None, []
        before, by_retired = len(self.report.findings), False
        if self.ledger and self.level >= 1 and not self.lessons.has(record, leaf):
            for name, detail in self.ledger.statement_faults(record):
                self.find(name, index, detail)
            by_retired = self.ledger.is_by_retired(record)
        if self.ledger and self.level >= 5:
            opened, faults = self.ledger.opening_faults(record, shown, actor)
        if self.selects:
            led_to = root_by_path(leaf, index, self.manifest["end"], path)
            self.astray.setdefault(led_to, index)
            if index >= self.manifest["end"] or index < self.next:
                self.find("BROKEN_CHAIN", index, "out of order or range (M4)")
            else:
                self.next = index + 1
        else:
            self.place(index)
            if self.level >= 4:
                self.follow(record, leaf, opened, by_retired)
        for name, detail in faults:
            self.find(name, index, detail)
        understood(record, self.report)
        self.lessons.unlisted(record, leaf, self.report)
        if self.ledger and not self.miscounted:
            self.miscounted = self.lessons.miscounted(record, self.report)
        if self.ledger and self.level >= 5 and self.whole and not self.selects:
            holds = len(self.report.findings) == before
            fault = self.rules.follow(
                record, opened, self.ledger,
                lambda at: self.lessons.before(self.manifest["genesis"], self.ledger, at),
                lambda at: (self.marks.get(at) or {}).get("leaf"), holds)
            if fault:
                self.find("RULE", index, fault)
        if self.fate:
            self.fate.see(record, opened)
        if self.level >= 6 and record.ok and record.kind == "ANCHOR" and opened:
            self.anchors.append((index, opened))
        if not self.selects:
            self.grow(leaf)

    def grow(self, leaf):
        if self.level >= 2 and self.whole and not self.selects:
            self.tree.append(leaf)
            self.leaves.append(leaf)
            self.compare_head(self.tree)

    def place(self, index):
        due = self.next
        if index >= due:
            self.next = index + 1
        if index != due:
            self.whole, self.prev = False, None
            name = "MISSING_DATA" if index > due else "BROKEN_CHAIN"
            self.find(name, index, f"record {due} was due")

    def follow(self, record, leaf, opened, by_retired):
        index = record.index
        if self.prev is not None and record.prev != self.prev:
            self.find("BROKEN_CHAIN", index, "prev is another (L1)")
        self.prev = leaf
        if record.committed_at < self.time:
            self.find("TIME", index, "time goes back")
        self.time = max(self.time, record.committed_at)
        if self.whole and (why := self.lane(record, by_retired)):
            self.find("LANE", index, why)
        if self.whole and record.ok and record.kind == "BOOT" and opened:
            self.boot(record, opened["outboxes"])
        if record.outcome == 2:
            mark = self.marks.get(record.duplicate_of)
            seen = record.duplicate_of >= self.first and self.whole
            if record.duplicate_of >= index or (seen and not (mark and mark["ok"])):
                self.find("BROKEN_CHAIN", index, "duplicate of no earlier OK record")
        if record.ok and record.kind == "DOWNLOAD_END" and opened:
            for download, _ in opened["ends"]:
                self.ended(record, download)
        given = opened.get("endorsements") if record.ok and opened and self.whole else None
        named = self.marks.get(given["after"]) if given else None
        self.unplaced += bool(given and not named)
        if named and named["leaf"] != given["leaf"]:
            self.find("BROKEN_CHAIN", index, "endorsements of another history (E5)")
        if self.whole:
            self.marks[index] = {"node": record.node, "kind": record.kind, "ok": record.ok,
                                 "ended": False, "leaf": leaf}

    def ended(self, record, download):
        if download >= record.index:
            return self.find("BROKEN_CHAIN", record.index, "ends a later download")
        if download < self.first or not self.whole or self.marks[download] is None:
            return None
        mark = self.marks[download]
        wanted = (True, "DOWNLOAD", record.node)
        if (mark["ok"], mark["kind"], mark["node"]) != wanted or mark["ended"]:
            self.find("BROKEN_CHAIN", record.index, f"cannot end the download {download}")
        if (mark["ok"], mark["kind"], mark["node"]) == wanted:
            mark["ended"] = True
        return None

    def lane(self, record, by_retired):
        """Section 10.1."""
        kind, lane, node = record.kind, record.lane, record.node
        why, starts = None, kind in ("GENESIS", "BOOT")
        latest = self.boots.get(node)
        if starts != (lane[0] == 0) and record.outcome != 1:
            why = f"a {kind} in the lane {lane}"
        elif lane[0] == 1 and latest != lane[1] and not (latest is None and lane[1] < self.first):
            why = "a closed or unknown strict lane"
        place = (node, lane)
        if not why:
            anywhere = self.first > 0 and not (lane[0] == 1 and lane[1] >= self.first)
            known = self.lanes.get(place)
            if known is None and not (anywhere and record.seq > 0):
                known = (0, bytes(32))
            if known and (record.seq, record.statement_prev) != known:
                why = f"seq {record.seq} after {known[0]}, or another statement before"
            said = self.outboxes.get(node, {}).get(lane[1]) if lane[0] == 2 else None
            given = said and record.seq < said["next"]
            if not why and by_retired and not given and (said or self.first == 0):
                why = "signed under a retired key, and no BOOT knew of it (L20)"
            if not why and said and said["next"] == record.seq + 1:
                if said["last"] != record.statement_hash:
                    why = "another statement than the BOOT said (L19)"
        self.lanes[place] = (record.seq + 1, record.statement_hash)
        if kind == "BOOT" and record.ok:
            self.boots[node] = record.index
            closed = [at for at in self.lanes if at[0] == node and at[1][0] == 1]
            for at in closed:
                del self.lanes[at]
        return why

    def pending(self, node, outbox):
        known = self.lanes.get((node, (2, outbox["id"])))
        if known is None:
            return 0 if self.first > 0 else outbox["next"]
        return max(0, outbox["next"] - known[0])

    def boot(self, record, outboxes):
        """Section 10.2."""
        node = record.node
        before = self.outboxes.pop(node, {})
        for number in sorted(before):
            named = any(outbox["id"] == number for outbox in outboxes)
            pending = self.pending(node, before[number]) > 0
            if not named and pending:
                self.find("LANE", record.index, f"outbox {number} is not named")
            again = next((outbox for outbox in outboxes if outbox["id"] == number), None)
            if pending and again and not again["lost"] and again["next"] < before[number]["next"]:
                self.find("LANE", record.index, f"outbox {number} goes back (L18)")
        numbers = [outbox["id"] for outbox in outboxes]
        if len(set(numbers)) < len(numbers):
            self.find("LANE", record.index, "an outbox is named twice (L17)")
        now = self.outboxes.setdefault(node, {})
        for outbox in outboxes:
            known = self.lanes.get((node, (2, outbox["id"])))
            if known and (outbox["next"] < known[0]
                          or outbox["next"] == known[0] and outbox["last"] != known[1]):
                self.find("LANE", record.index, f"outbox {outbox['id']} stands elsewhere")
            if outbox["lost"]:
                self.find("LOST", record.index, f"outbox {outbox['id']} is lost")
                continue
            now[outbox["id"]] = outbox

    def take_checkpoint(self, frame):
        """C1 to C7, S1 to S4, F2."""
        self.begin()
        note, path = frame
        self.count += 1
        if not self.ledger or self.level < 2:
            return
        try:
            size, root = self.ledger.checkpoint(note.encode())
        except Broken as fault:
            return self.find(fault.name, None, str(fault))
        end, head = self.manifest["end"], self.manifest["head"]
        if self.end_root is None:
            if size != end or path:
                return self.find("CHECKPOINT", None, "the first checkpoint is not of the end")
            self.end_root = root
        else:
            if not self.newest[0] < size <= head:
                return self.find("CHECKPOINT", None, "a checkpoint of a wrong size")
            if not consistent(end, size, path, self.end_root, root):
                return self.find("BAD_TREE", None, "a checkpoint does not go on")
        self.newest = (size, root)
        self.cosigned_at = self.ledger.cosigned_at(note.encode(), size)
        if self.policy:
            self.lacking = self.policy.lacks(self.ledger.cleared(note, size))
            self.met = self.met or self.lacking is None
        if self.head and self.head[0] == size > 0:
            if self.head[1] != root:
                self.find("FORK", None, "the saved head has another root")
            self.head = None
        if (size == end and not self.selects and self.whole
                and self.tree.size == size and self.tree.root() != root):
            self.find("BAD_TREE", None, "the records lead to another root")
        return None

    def is_judged(self):
        """D12."""
        if self.level < 5 or not self.manifest or self.selects:
            return False
        earlier = any(record.index < self.first for record in self.lessons.taken)
        return not (self.rules.left or self.unplaced or earlier)

    def conclude(self):
        """M6, M7, S5, S6 and what follows."""
        end = self.manifest["end"]
        if not self.selects and self.next != end:
            name = "MISSING_DATA" if self.next < end else "STRUCTURE"
            self.find(name, None, f"the records go up to {self.next}")
        if self.level >= 2:
            self.conclude_checkpoints()
        if self.head and self.whole:
            self.find("MISSING_DATA", None, "the saved head was not compared")
        if (self.level >= 6 and self.policy and self.ledger and self.whole
                and not self.selects):
            self.conclude_anchors()

    def conclude_checkpoints(self):
        if self.count == 0:
            return self.find("CHECKPOINT", None, "there is no checkpoint")
        if self.newest and self.newest[0] != self.manifest["head"]:
            self.find("CHECKPOINT", None, "no checkpoint of the head's size")
        elif self.newest:
            self.lessons.compare(self.newest[1], self.report)
            self.lessons.tie(self.last, None, *self.newest, self.cosigned_at, self.report)
        if self.end_root is not None:
            for index in sorted(i for root, i in self.astray.items() if root != self.end_root):
                self.find("BAD_TREE", index, "the path leads elsewhere")
        if self.policy and not self.met and self.lacking:
            self.find("POLICY", None, self.lacking)
        return None

    def conclude_anchors(self):
        """Section 10.3."""
        if self.first > 0:
            return self.find("MISSING_DATA", None, "anchors need a bundle from 0")
        agreeing = 0
        for index, anchor in self.anchors:
            if anchor["type"] != 1:
                continue
            witness = self.policy.witness(anchor["who"])
            if not witness or self.ledger.is_own_cosigner(witness):
                continue
            note = parse_note(anchor["note"].encode())
            origin, size, root = parse_checkpoint(note.text)
            if size == 0 or origin != self.ledger.origin or vouch(note, witness) is not True:
                continue
            tree = Tree()
            for leaf in self.leaves[: min(size, index)]:
                tree.append(leaf)
            if tree.root() == root:
                agreeing += 1
            else:
                self.find("FORK", index, "a witness saw another tree")
        if not agreeing:
            self.find("MISSING_DATA", None, "no anchor by an outside witness of the policy")
        return None


class Known:
    """What other evidence, which holds, says of the keys: section 6.4."""

    def __init__(self, data, trust):
        if data.startswith(b"muniment-receipt/v2\n"):
            report = verify_receipt(data, trust)
        else:
            report = Bundle(trust, None, None, 2).verify(data)
        meant = all(name != "UNTRUSTED" for name, _, _ in report.findings)
        if not (meant and report.lessons and report.lessons.tied):
            raise DecodeError("the keys are not to be used")
        self.ledger, self.keys = report.ledger, report.lessons.keys

    @classmethod
    def of(cls, report):
        """Of a bundle that was verified just now."""
        known = cls.__new__(cls)
        known.ledger, known.keys = report.ledger, report.lessons.keys
        return known


def refused(code, why):
    return {"exit_code": code, "classes": [], "details": [str(why)]}


def run(arguments):
    """One verification, as the command line asks for it."""
    if len(arguments) < 2 or arguments[0] not in ("receipt", "bundle", "promise"):
        return refused(2, __doc__)
    command, path, rest = arguments[0], arguments[1], arguments[2:]
    switches = [word for word in rest if word in ("--issued", "--strict", "--require-judged")]
    rest = [word for word in rest if word not in switches]
    misplaced = (command != "receipt" and "--issued" in switches
                 or command != "bundle" and "--require-judged" in switches)
    if misplaced:
        return refused(2, __doc__)
    flags = {"receipt": ("--trust", "--policy", "--keys", "--document", "--head", "--max-age"),
             "bundle": ("--trust", "--policy", "--keys", "--head", "--level"),
             "promise": ("--trust", "--keys", "--bundle", "--policy", "--head")}[command]
    if len(rest) % 2 or any(flag not in flags for flag in rest[::2]):
        return refused(2, __doc__)
    given = dict(zip(rest[::2], rest[1::2]))
    level = given.pop("--level", "5")
    if level not in tuple("0123456") or (level == "6" and "--policy" not in given):
        return refused(2, "a level from 0 to 6, of which 6 needs a policy")
    if command == "promise" and "--bundle" not in given and {"--policy", "--head"} & set(given):
        return refused(2, "a policy and a head are for the bundle")
    max_age = given.pop("--max-age", None)
    if max_age is not None and not (max_age.isdigit() and "--policy" in given):
        return refused(2, "an age in seconds, which needs a policy")
    if "--head" in given and level < "3":
        return refused(2, "a head is compared from level 3 on")
    try:
        read = {}
        for flag, name in [("data", path), *given.items()]:
            with open(name, "rb") as file:
                read[flag] = file.read()
        trust, policy = read.get("--trust"), read.get("--policy")
        trust = None if trust is None else Trust(trust)
        policy = None if policy is None else Policy(policy)
        known = Known(read["--keys"], trust) if "--keys" in read else None
    except (OSError, DecodeError) as why:
        return refused(4, why)
    if command == "receipt":
        report = verify_receipt(read["data"], trust, policy, read.get("--document"), known,
                                "--issued" in switches, read.get("--head"),
                                None if max_age is None else int(max_age))
    elif command == "promise" and "--bundle" in read:
        return verify_fate(read["data"], trust, policy, read.get("--head"), known,
                           read["--bundle"], "--strict" in switches)
    elif command == "promise":
        report = verify_promise(read["data"], trust, known)
    else:
        bundle = Bundle(trust, policy, read.get("--head"), int(level), known)
        report = bundle.verify(read["data"])
        if "--require-judged" in switches and not bundle.is_judged():
            report.find("MISSING_DATA", None, "a rule could not be judged (D12)")
    result = report.end(trust is not None, "--strict" in switches)
    if policy and policy.unjudged:
        result["unjudged"] = "this Python's package `cryptography` has no ML-DSA"
    return result


def main(arguments):
    if arguments[:1] == ["manifest"] and len(arguments) == 2:
        with open(arguments[1], encoding="utf-8") as file:
            lines = file.read().splitlines()[1:]
        os.chdir(os.path.dirname(os.path.abspath(arguments[1])))
        for line in lines:
            print(json.dumps(run(line.split("\t")[1].split(" "))))
        return 0
    result = run(arguments)
    print(json.dumps(result))
    return result["exit_code"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
