"""Signatures, notes, policies, pins (FORMAT.md 1.1, 7.2, 12, 13).

It promises the strictness of section 1.1, which the package `cryptography` alone does not
have. Where that package has no ML-DSA (before 47, or with an older OpenSSL), such keys are
taken for keys of an unknown type, and `Policy.unjudged` says so. It leaves which keys are the ledger's to `ledger`.
"""

import base64
import binascii
import unicodedata
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from evidence import DecodeError

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
SMALL_ORDER = {0, 1, P - 1} | {
    int.from_bytes(bytes.fromhex(y), "little") for y in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")}
WHITE_SPACE = set("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {
    chr(c) for c in range(0x2000, 0x200B)}
LOG, COSIGNATURE, ML_DSA_COSIGNATURE = 1, 4, 6
ML_DSA_KEY_BYTES, ML_DSA_SIGNATURE_BYTES = 1312, 2420
HEX = "0123456789abcdef"

try:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
    MLDSA44PublicKey.from_public_bytes(bytes(ML_DSA_KEY_BYTES))
except (ImportError, UnsupportedAlgorithm):
    MLDSA44PublicKey = None


def strict_point(data):
    y = int.from_bytes(data, "little") & (2**255 - 1)
    if y >= P or y in SMALL_ORDER:
        return False
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    return square == 0 or pow(square, (P - 1) // 2, P) == 1


def verify(key, message, signature):
    """Section 1.1."""
    if len(signature) != 64 or not strict_point(key) or not strict_point(signature[:32]):
        return False
    if int.from_bytes(signature[32:], "little") >= L:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_ml_dsa(key, message, signature):
    """Section 1.2. The package checks what FIPS 204 asks to be checked."""
    if len(signature) != ML_DSA_SIGNATURE_BYTES:
        return False
    try:
        MLDSA44PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def subtree_message(name, time, checkpoint):
    """Section 7.2; None where a name has no such message."""
    origin, size, root = checkpoint
    message = b"subtree/v1\n\0"
    for text, number in ((name.encode(), time), (origin.encode(), 0)):
        if not 1 <= len(text) <= 255:
            return None
        message += bytes([len(text)]) + text + number.to_bytes(8, "big")
    return message + size.to_bytes(8, "big") + root


def is_key_name(name):
    return name != "" and not any(
        c == "+" or c in WHITE_SPACE or unicodedata.category(c) == "Cc" for c in name)


def decode_base64(text):
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as why:
        raise DecodeError("base64") from why
    if base64.b64encode(data).decode() != text:
        raise DecodeError("base64 in its one writing")
    return data


def decimal(text, most):
    digits = text.isascii() and text.isdigit() and len(text) <= 20
    if not digits or str(int(text)) != text or int(text) > most:
        raise DecodeError("a decimal number")
    return int(text)


class Note:
    def __init__(self, text, lines):
        self.text, self.lines = text, lines


def parse_note(data):
    if len(data) > 256 * 1024:
        raise DecodeError("a note of at most 256 KiB")
    try:
        whole = data.decode()
    except UnicodeDecodeError as why:
        raise DecodeError("UTF-8") from why
    split = whole.rfind("\n\n")
    if split < 0 or any(c < " " and c != "\n" for c in whole):
        raise DecodeError("a note")
    text, rest = whole[:split + 1], whole[split + 2:]
    if not rest.endswith("\n"):
        raise DecodeError("a line feed at the end")
    lines = []
    for line in rest[:-1].split("\n"):
        name, space, blob = line[2:].partition(" ")
        if line[:2] != "\u2014 " or not space or not is_key_name(name):
            raise DecodeError("a signature line")
        blob = decode_base64(blob)
        if len(blob) < 4:
            raise DecodeError("a key id")
        lines.append((name, blob[:4], blob[4:]))
    return Note(text, lines)


def parse_checkpoint(text):
    """Origin, size, root."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] != "" or not is_key_name(lines[0]):
        raise DecodeError("a checkpoint of three lines")
    root = decode_base64(lines[2])
    if len(root) != 32:
        raise DecodeError("a root")
    return lines[0], decimal(lines[1], 2**64 - 1), root


class VerifierKey:
    def __init__(self, name, kind, key):
        self.name, self.kind, self.key = name, kind, key
        self.id = sha256(name.encode() + b"\n" + bytes([kind]) + key).digest()[:4]

    def is_usable(self):
        if self.kind in (LOG, COSIGNATURE):
            return len(self.key) == 32 and strict_point(self.key)
        return len(self.key) == ML_DSA_KEY_BYTES and len(self.name.encode()) <= 255

    def same(self, other):
        return (self.name, self.kind, self.key) == (other.name, other.kind, other.key)


def parse_verifier_key(text, any_type=False):
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_key_name(parts[0]):
        raise DecodeError("a verifier key")
    data = decode_base64(parts[2])
    if not data:
        raise DecodeError("a type")
    key = VerifierKey(parts[0], data[0], data[1:])
    if key.kind not in (LOG, COSIGNATURE, ML_DSA_COSIGNATURE):
        if not any_type or len(parts[1]) != 8 or not set(parts[1]) <= set(HEX):
            raise DecodeError("a key of a type that is known")
        key.id = bytes.fromhex(parts[1])
        return key
    if not key.is_usable():
        raise DecodeError("a usable key")
    if len(parts[1]) != 8 or parts[1] != key.id.hex():
        raise DecodeError("the key's id")
    return key


def vouch(note, key):
    """True: signed. False: a line of the key does not hold. None: no line of the key."""
    found = None
    for name, key_id, data in note.lines:
        if (name, key_id) != (key.name, key.id):
            continue
        time = int.from_bytes(data[:8], "big")
        if key.kind == LOG:
            holds = verify(key.key, note.text.encode(), data)
        elif key.kind == COSIGNATURE:
            message = f"cosignature/v1\ntime {time}\n{note.text}".encode()
            holds = len(data) == 72 and time < 2**63 and verify(key.key, message, data[8:])
        elif key.kind == ML_DSA_COSIGNATURE and MLDSA44PublicKey:
            try:
                message = subtree_message(key.name, time, parse_checkpoint(note.text))
            except DecodeError:
                message = None
            holds = (len(data) == 8 + ML_DSA_SIGNATURE_BYTES and time < 2**63
                     and message is not None and verify_ml_dsa(key.key, message, data[8:]))
        else:
            return None
        if not holds:
            return False
        found = True
    return found


def cosigned_time(note, key):
    """The seconds of the key's last line, if it has cosigned."""
    if vouch(note, key) is not True:
        return None
    lines = [data for name, key_id, data in note.lines if (name, key_id) == (key.name, key.id)]
    return int.from_bytes(lines[-1][:8], "big")


class Trust:
    """Section 13."""

    def __init__(self, data):
        lines = data.decode(errors="replace").split("\n")
        if len(lines) != 4 or lines[0] != "muniment-trust/v1" or lines[3] != "":
            raise DecodeError("a trust file")
        origin, genesis = lines[1].partition(" "), lines[2].partition(" ")
        if origin[0] != "origin" or not is_key_name(origin[2]) or len(origin[2].encode()) > 255:
            raise DecodeError("an origin")
        digits = genesis[2]
        if genesis[0] != "genesis" or len(digits) != 64 or not set(digits) <= set(HEX):
            raise DecodeError("64 digits of lower-case hexadecimal")
        self.origin, self.genesis = origin[2], bytes.fromhex(digits)


class Policy:
    """Section 12."""

    def __init__(self, data):
        try:
            text = data.decode()
        except UnicodeDecodeError as why:
            raise DecodeError("a policy in UTF-8") from why
        if len(data) > 256 * 1024 or any(c < " " and c not in "\t\n" or c == "\x7f" for c in text):
            raise DecodeError("a policy")
        self.logs, self.witnesses, self.groups, quorums = [], {}, {}, []
        self.grouped = set()
        for line in text.split("\n"):
            items = [item for item in line.replace("\t", " ").split(" ") if item]
            if not items or items[0].startswith("#"):
                continue
            if items[0] == "log" and len(items) in (2, 3):
                self.add_key(self.logs, parse_verifier_key(items[1]), LOG)
            elif items[0] == "witness" and len(items) in (3, 4):
                key = parse_verifier_key(items[2], any_type=True)
                self.define(items[1])
                self.add_key(list(self.witnesses.values()), key, None)
                self.witnesses[items[1]] = key
            elif items[0] == "group" and len(items) >= 4:
                self.add_group(items[1], items[2], items[3:])
            elif items[0] == "quorum" and len(items) == 2:
                if items[1] != "none" and not self.is_defined(items[1]):
                    raise DecodeError("a quorum that is defined")
                quorums.append(items[1])
            else:
                raise DecodeError(f"a line of a policy: {line!r}")
        if len(quorums) != 1 or max(map(len, (self.logs, self.witnesses, self.groups))) > 64:
            raise DecodeError("one quorum, and at most 64 of each")
        self.quorum = quorums[0]
        kinds = {key.kind for key in self.witnesses.values()}
        self.unjudged = ML_DSA_COSIGNATURE in kinds and not MLDSA44PublicKey

    def is_defined(self, name):
        return name in self.witnesses or name in self.groups

    def define(self, name):
        if name == "none" or self.is_defined(name):
            raise DecodeError(f"the name {name}")

    def add_key(self, others, key, kind):
        clash = any(o.key == key.key or (o.name, o.id) == (key.name, key.id) for o in others)
        if (key.kind != kind if kind else key.kind == LOG) or clash:
            raise DecodeError("another key, of the line's type")
        others.append(key)

    def add_group(self, name, threshold, members):
        self.define(name)
        words = {"all": len(members), "any": 1}
        needed = words[threshold] if threshold in words else decimal(threshold, len(members))
        fine = all(self.is_defined(m) and m not in self.grouped for m in members)
        if not fine or needed < 1 or len(set(members)) != len(members):
            raise DecodeError("a group of names that are defined and free")
        self.grouped.update(members)
        self.groups[name] = (needed, members)

    def witness(self, text):
        """The policy's witness with this verifier key."""
        try:
            wanted = parse_verifier_key(text)
        except DecodeError:
            return None
        return next((key for key in self.witnesses.values() if key.same(wanted)), None)

    def times(self, note):
        """When its witnesses say that they have cosigned: of several lines the last counts."""
        times = {}
        for name, key_id, data in note.lines:
            for key in self.witnesses.values():
                if (name, key_id) == (key.name, key.id):
                    times[key_id] = int.from_bytes(data[:8], "big")
        return list(times.values())

    def lacks(self, note):
        """What is missing in a note, in words; None when the policy is met."""
        origin = parse_checkpoint(note.text)[0]
        logs = [(key, vouch(note, key)) for key in self.logs]
        witnesses = {name: vouch(note, key) for name, key in self.witnesses.items()}
        if False in [said for _, said in logs] or False in witnesses.values():
            return "a signature does not hold"
        if not any(said and key.name == origin for key, said in logs):
            return "no log of the policy has signed"
        there = {name for name, said in witnesses.items() if said}
        for name, (needed, members) in self.groups.items():
            if sum(member in there for member in members) >= needed:
                there.add(name)
        if self.quorum != "none" and self.quorum not in there:
            return f"the quorum {self.quorum} is not met"
        return None
