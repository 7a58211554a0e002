#!/usr/bin/env python3
"""Reads a ledger's log over HTTP and checks it, without any of Muniment's code.

Written from the published formats alone: C2SP signed-note, tlog-checkpoint,
tlog-cosignature, tlog-tiles and tlog-proof, RFC 6962, and the record of
evidence/FORMAT.md. Needs Python 3.9 or newer and `cryptography`.

    reader.py log BASE_URL LOG_VKEY            the whole log: note, entries, tree, tiles
    reader.py proof FILE LOG_VKEY --entry N    one .tlog-proof, with the node's record N
                                               (--url) or with a file (--leaf)

Promises: what it prints as true it has computed from fetched bytes; what it cannot read
in the one canonical spelling it refuses. Prints one JSON object; ends with 0 if
everything holds, 1 if something does not, 2 if it was called wrongly. Leaves statements'
signatures and openings to `muniment-verify`: tiles do not carry the keys for them.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LOG_SIGNATURE = 0x01
COSIGNATURE = 0x04

TILE_WIDTH = 256
# The biggest answer is a bundle of 256 entries of 64 KiB; a note is far smaller.
ANSWER_BYTES_MAX = TILE_WIDTH * (2 + 65_535)
NOTE_BYTES_MAX = 256 * 1024
# As many as C2SP asks a verifier to bear, several times over.
SIGNATURES_MAX = 100
# A path has one hash per level, and a size has 64 bits.
PATH_HASHES_MAX = 64
# A node answers within milliseconds; past this it does not answer.
ANSWER_TIMEOUT_S = 30

# evidence/FORMAT.md, section 4: the record and the parts of it that are read here.
RECORD_VERSION = 2
RECORD_BYTES = 298
ZERO = bytes(32)
OUTCOMES = {0: "OK", 1: "REFUSED", 2: "DUPLICATE_OF"}
STRICT_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")


class Refused(Exception):
    """Something is not as it has to be."""


def need(holds, what):
    if not holds:
        raise Refused(what)


# Canonical spellings.


def number(text, what):
    need(STRICT_NUMBER.fullmatch(text), f"{what}: not a canonical number: {text!r}")
    value = int(text)
    need(value < 2**64, f"{what}: more than 64 bits")
    return value


def unbase64(text, what, length=None):
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refused(f"{what}: not base64") from None
    # Padding bits that are not zero would give one value two spellings.
    canonical = base64.b64encode(value).decode() == text
    need(canonical, f"{what}: not canonical base64")
    need(length in (None, len(value)), f"{what}: {len(value)} bytes, not {length}")
    return value


def utf8(data, what):
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(f"{what}: not UTF-8") from None


# Signed notes, checkpoints and cosignatures.


def is_key_name(name):
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)


class Key(NamedTuple):
    """A verifier key: `name+hash+base64(type, key)`."""

    name: str
    kind: int
    key: bytes

    @classmethod
    def parse(cls, text):
        parts = text.split("+", 2)
        need(len(parts) == 3 and is_key_name(parts[0]), f"not a verifier key: {text}")
        typed = unbase64(parts[2], "verifier key", 33)
        key = cls(parts[0], typed[0], typed[1:])
        need(key.kind in (LOG_SIGNATURE, COSIGNATURE), f"{key.name}: unknown key type")
        need(key.id().hex() == parts[1], f"{key.name}: the key has another hash")
        return key

    def id(self):
        named = self.name.encode() + b"\n" + bytes([self.kind]) + self.key
        return hashlib.sha256(named).digest()[:4]

    def check(self, text, blob):
        """Whether the key made this signature; a cosignature's time, else None."""
        time_s, message = None, text
        if self.kind == COSIGNATURE:
            need(len(blob) == 8 + 64, f"{self.name}: a cosignature has 72 bytes")
            time_s, blob = int.from_bytes(blob[:8], "big"), blob[8:]
            need(time_s < 2**63, f"{self.name}: a time of more than 63 bits")
            message = f"cosignature/v1\ntime {time_s}\n{text}"
        need(len(blob) == 64, f"{self.name}: a signature has 64 bytes")
        try:
            public = Ed25519PublicKey.from_public_bytes(self.key)
            public.verify(blob, message.encode())
        except (InvalidSignature, ValueError):
            raise Refused(f"{self.name}: the signature does not hold") from None
        return time_s


class Checkpoint(NamedTuple):
    """What a note says once its signatures hold."""

    origin: str
    size: int
    root: bytes
    cosigned: dict

    @classmethod
    def verify(cls, data, log_key, cosigners):
        need(log_key.kind == LOG_SIGNATURE, "the log's key is of another type")
        need(len(data) <= NOTE_BYTES_MAX, "the note is too long")
        note = utf8(data, "note")
        control = any(c < " " and c != "\n" for c in note)
        need(not control and note.endswith("\n"), "the note has control characters or no end")
        at = note.rfind("\n\n")
        need(at >= 0, "the note has no signatures")
        text, lines = note[: at + 1], note[at + 2 : -1].split("\n")
        need(len(lines) <= SIGNATURES_MAX, "the note has too many signatures")
        known = {(key.name, key.id()): key for key in [log_key, *cosigners]}
        times = {}
        for line in lines:
            dash, name, blob = (line.split(" ") + ["", ""])[:3]
            need(line == f"{dash} {name} {blob}" and dash == "\u2014", "not a signature line")
            need(is_key_name(name), "a signature without a key name")
            blob = unbase64(blob, "signature")
            need(len(blob) > 4, "a signature without bytes")
            # Lines of keys that we do not know say nothing, good or bad.
            key = known.get((name, blob[:4]))
            if key is not None:
                times[key] = key.check(text, blob[4:])
        need(log_key in times, "the log key has not signed the note")
        fields = text[:-1].split("\n")
        need(len(fields) == 3, "a checkpoint has three lines")
        need(fields[0] == log_key.name, f"the log's origin is {fields[0]!r}")
        size = number(fields[1], "size")
        root = unbase64(fields[2], "root", 32)
        cosigned = {key.name: time for key, time in times.items() if key.kind == COSIGNATURE}
        return cls(fields[0], size, root, cosigned)


# The tree of RFC 6962.


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """The roots of all perfect subtrees, row by row: row h is over 2**h leaves each."""

    def __init__(self, leaves):
        self.rows = [leaves]
        while len(self.rows[-1]) > 1:
            row = self.rows[-1]
            above = [node_hash(*row[i : i + 2]) for i in range(0, len(row) - 1, 2)]
            self.rows.append(above)

    def root(self, size):
        """The root over the first `size` leaves: their peaks, folded from the right."""
        need(size <= len(self.rows[0]), "a size beyond the log")
        root, end = None, size
        for height, row in enumerate(self.rows):
            if size >> height & 1:
                end -= 1 << height
                peak = row[end >> height]
                root = peak if root is None else node_hash(peak, root)
        return hashlib.sha256().digest() if root is None else root

    def tile(self, level, index, width):
        row = self.rows[8 * level]
        return b"".join(row[index * TILE_WIDTH : index * TILE_WIDTH + width])


def included(leaf, index, size, path, root):
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        return False
    at, last, found = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and found == root


# Tiles over HTTP.


def fetch(base, path):
    url = f"{base.rstrip('/')}/{path}"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            data = answer.read(ANSWER_BYTES_MAX + 1)
    except (urllib.error.URLError, OSError) as error:
        raise Refused(f"{url}: {error}") from None
    need(len(data) <= ANSWER_BYTES_MAX, f"{url}: too long an answer")
    return data


def tile_path(kind, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{kind}/{'/'.join(groups)}{partial}"


def tiles(rows):
    """Index and width of each tile over so many rows, the partial one last."""
    full, rest = divmod(rows, TILE_WIDTH)
    return [(n, TILE_WIDTH) for n in range(full)] + ([(full, rest)] if rest else [])


def bundle(base, index, width):
    """The entries of one bundle, exactly `width` of them."""
    data = fetch(base, tile_path("entries", index, width))
    entries, at = [], 0
    while at < len(data):
        need(at + 2 <= len(data), f"bundle {index}: a length is cut off")
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        need(end <= len(data), f"bundle {index}: an entry is cut off")
        entries.append(data[at + 2 : end])
        at = end
    need(len(entries) == width, f"bundle {index}: {len(entries)} entries, not {width}")
    return entries


def compare_tiles(base, tree, size):
    """Fetches the tiles of every level; how many there were."""
    count, level = 0, 0
    while size >> (8 * level):
        for index, width in tiles(size >> (8 * level)):
            path = tile_path(level, index, width)
            need(fetch(base, path) == tree.tile(level, index, width), f"{path} is another")
            count += 1
        level += 1
    return count


# Records, by the offsets of evidence/FORMAT.md.


def check_records(records, leaves):
    """Position, link to the record before, time and outcome of each; counts by outcome."""
    counts = dict.fromkeys(OUTCOMES.values(), 0)
    committed_at_ms = 0
    for index, record in enumerate(records):
        need(len(record) == RECORD_BYTES, f"record {index}: {len(record)} bytes")
        need(record[0] == RECORD_VERSION, f"record {index}: version {record[0]}")
        need(int.from_bytes(record[1:9], "big") == index, f"record {index}: another index")
        before = leaves[index - 1] if index else ZERO
        need(record[9:41] == before, f"record {index}: does not follow the one before")
        time_ms = int.from_bytes(record[41:49], "big")
        need(time_ms >= committed_at_ms, f"record {index}: time goes back")
        committed_at_ms = time_ms
        outcome = OUTCOMES.get(record[57])
        reason = int.from_bytes(record[58:60], "big")
        earlier = int.from_bytes(record[60:68], "big")
        need(outcome is not None, f"record {index}: outcome {record[57]}")
        need((reason != 0) == (outcome == "REFUSED"), f"record {index}: reason {reason}")
        repeats = outcome == "DUPLICATE_OF"
        need(earlier < index if repeats else earlier == 0, f"record {index}: repeats {earlier}")
        # The ledger is named by the leaf hash of its first record, which cannot name itself.
        ledger = leaves[0] if index else ZERO
        need(record[73:105] == ledger, f"record {index}: of another ledger")
        counts[outcome] += 1
    return counts


# The two things that can be asked.


def keys(args):
    cosigners = [Key.parse(text) for text in args.cosigner]
    need(all(key.kind == COSIGNATURE for key in cosigners), "a cosigner's key is of another type")
    # One key under two names is still one voice.
    need(len({key.key for key in cosigners}) == len(cosigners), "a cosigner's key is given twice")
    return Key.parse(args.log_key), cosigners


def reached(checkpoint, args):
    got = len(checkpoint.cosigned)
    need(got >= args.quorum, f"{got} cosignatures, not {args.quorum}")
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "cosigned": checkpoint.cosigned,
    }


def read_log(args):
    log_key, cosigners = keys(args)
    checkpoint = Checkpoint.verify(fetch(args.url, "checkpoint"), log_key, cosigners)
    said = reached(checkpoint, args)
    entries = [
        entry
        for index, width in tiles(checkpoint.size)
        for entry in bundle(args.url, index, width)
    ]
    leaves = [leaf_hash(entry) for entry in entries]
    tree = Tree(leaves)
    need(tree.root(checkpoint.size) == checkpoint.root, "the entries have another root")
    for path in args.head:
        head = Checkpoint.verify(Path(path).read_bytes(), log_key, [])
        need(tree.root(head.size) == head.root, f"{path}: the log had another past")
    count = compare_tiles(args.url, tree, checkpoint.size)
    outcomes = check_records(entries, leaves)
    if args.genesis is not None:
        need(leaves and leaves[0].hex() == args.genesis, "the log begins with another GENESIS")
    return {**said, "tiles": count, "heads": len(args.head), "outcomes": outcomes}


def read_proof(args):
    log_key, cosigners = keys(args)
    need(args.entry >= 0, "entries are counted from 0")
    leaf = Path(args.leaf).read_bytes() if args.leaf else None
    head, blank, note = Path(args.file).read_bytes().partition(b"\n\n")
    need(blank, "the proof has no checkpoint")
    lines = utf8(head, "proof").split("\n")
    need(lines.pop(0) == "c2sp.org/tlog-proof@v1", "not a tlog-proof, version 1")
    if lines and lines[0].startswith("extra "):
        unbase64(lines.pop(0)[len("extra ") :], "extra")
    need(lines and lines[0].startswith("index "), "the proof has no index")
    index = number(lines.pop(0)[len("index ") :], "index")
    need(index == args.entry, f"the proof is of entry {index}")
    need(len(lines) <= PATH_HASHES_MAX, "the path is too long")
    path = [unbase64(line, "path", 32) for line in lines]
    checkpoint = Checkpoint.verify(note, log_key, cosigners)
    said = reached(checkpoint, args)
    if leaf is None:
        # As wide as the proof's own size makes it: that width was published.
        at, place = divmod(index, TILE_WIDTH)
        width = min(TILE_WIDTH, checkpoint.size - at * TILE_WIDTH)
        need(place < width, "the entry is beyond the proof's tree")
        leaf = bundle(args.url, at, width)[place]
    holds = included(leaf_hash(leaf), index, checkpoint.size, path, checkpoint.root)
    need(holds, "the path does not lead from the entry to the root")
    return {**said, "index": index, "leaf": leaf_hash(leaf).hex()}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    verbs = parser.add_subparsers(required=True, metavar="log | proof")
    log = verbs.add_parser("log", help="check the whole log of a node")
    log.add_argument("url", metavar="BASE_URL")
    log.add_argument("--head", action="append", default=[], help="a checkpoint kept earlier")
    log.add_argument("--genesis", metavar="HEX", help="leaf hash of the first record, pinned")
    log.set_defaults(verb=read_log)
    proof = verbs.add_parser("proof", help="check one .tlog-proof")
    proof.add_argument("file", metavar="FILE")
    proof.add_argument("--entry", metavar="INDEX", type=int, required=True)
    leaf = proof.add_mutually_exclusive_group(required=True)
    leaf.add_argument("--url", help="a node that has the entry")
    leaf.add_argument("--leaf", help="a file that is the entry")
    proof.set_defaults(verb=read_proof)
    for verb in (log, proof):
        verb.add_argument("log_key", metavar="LOG_VKEY")
        verb.add_argument("--cosigner", metavar="VKEY", action="append", default=[])
        verb.add_argument("--quorum", metavar="K", type=int, default=0, help="cosigners asked for")
    return parser.parse_args()


def main():
    args = arguments()
    try:
        answer = {"ok": True, **args.verb(args)}
    except (Refused, OSError) as error:
        answer = {"ok": False, "error": str(error)}
    print(json.dumps(answer, ensure_ascii=False))
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
