"""Whether the ledger's rules make of a record what it says (FORMAT.md 10.4).

It promises to call nothing broken that was not shown to be: what is not known raises NotJudged,
and what is taken to be absent is a guess, which is counted. It leaves what is asked of one record
by itself to `ledger`.
"""

from evidence import NOT_SYSTEM

REVERSES = "REVERSES"
MOST_REVERSALS, MOST_RENDITIONS = 10_000, 256
RULED = {"ISSUE", "REVERSE", "ADD_RENDITION", "VOID", "DOWNLOAD", "DOWNLOAD_END", "BOOT", "LEADER",
         "BODY_LOST", "WAIVER"}
OF_INVOICES = {"ISSUE", "REVERSE", "ADD_RENDITION", "VOID"}
KEY_GROUNDS = {15: "KEY_SERIAL", 16: "KEY_CHANGE", 17: "KEY_ENDORSEMENT"}
NEW, SAME, OTHER = "new", "same", "other"
OK, REFUSED = ("OK",), ("REFUSED",)
ADD, RETIRE, REVOKE = 1, 2, 3


class NotJudged(Exception):
    """A slice, an opening that is not there, or members who were changing."""


def content_of(document):
    """What makes two requests the same."""
    return document["metadata"]["bytes"], [named(r) for r in document["renditions"]]


def named(rendition):
    return rendition["role"], rendition["type"], rendition["length"], rendition["sha256"]


def reversed_by(metadata):
    found = [r for r in metadata["references"] if r["relation"] == REVERSES]
    if len(found) != 1:
        return None
    target = found[0]["target"]
    groups = target.split("-")
    digits = "".join(groups)
    if [len(group) for group in groups] != [8, 4, 4, 4, 12] or set(digits) - set("0123456789abcdef"):
        return None
    return bytes.fromhex(digits), found[0]["amount"]


def meets(level, members, holders):
    """Section 3: a class and a number."""
    kind, number = level
    voters = [node for node, _, _, votes in members if votes]
    holding = [member for member in members if member[0] in holders]
    if not voters or 2 * sum(votes for _, _, _, votes in holding) <= len(voters):
        return False
    if kind == 2:
        return len({zone for _, zone, _, votes in holding if votes}) >= number
    if kind == 3:
        return len({region for _, _, region, _ in holding}) >= number
    return kind == 1 or kind == 4 and len(holding) == len(members)


def taken_off(invoice, amount):
    """Minor units, "whole", or None where it may not be."""
    if invoice["reversal"] or invoice["void"]:
        return None
    total, whole, taken = invoice["total"], invoice["whole"], invoice["taken"]
    if total is None:
        return "whole" if amount is None and not whole else None
    if amount is not None and amount[1:] != total[1:]:
        return None
    if total[0] == 0:
        return "whole" if (amount is None or amount[0] == 0) and not whole else None
    left = total[0] - taken
    units = left if amount is None else amount[0]
    fine = units * total[0] > 0 and abs(units) <= abs(left)
    return units if fine else None


class Rules:
    def __init__(self, first):
        self.whole, self.withheld, self.guessed, self.left = first == 0, False, False, 0
        self.invoices, self.requests, self.identities, self.others = {}, {}, {}, set()
        self.roles, self.bytes, self.bodies, self.lost = {}, set(), set(), set()
        self.downloads, self.nodes, self.waived = {}, {}, set()
        self.voters, self.preparing, self.target, self.learners = None, False, None, []
        self.epoch, self.term = 1, None

    def follow(self, record, document, ledger, keys, leaf, holds):
        """Judges a record, if all else about it holds, and takes what it leaves: the fault."""
        self.ledger, self.keys, self.leaf, self.guessed = ledger, keys, leaf, False
        try:
            fault = self.judge(record, document) if holds else None
        except NotJudged:
            self.left, fault = self.left + 1, None
        self.take(record, document)
        return fault

    def judge(self, record, document):
        if record.kind == "KEY":
            return self.judge_key(record, document)
        if record.outcome == 1 or record.kind not in RULED:
            return None
        if document is None:
            raise NotJudged
        said = OK if record.ok else (SAME, record.duplicate_of)
        decided = self.decide(record, document)
        if said == decided or (not record.ok and self.guessed):
            if self.guessed:
                raise NotJudged
            return None
        return f"should be {decided}"

    def judge_key(self, record, document):
        """D9."""
        if record.ok:
            last = [change["until"] for change in (document or {"changes": []})["changes"]
                    if change["action"] == RETIRE and change["role"] == 2]
            if last and not self.whole:
                raise NotJudged
            return "retires by a later epoch" if last and max(last) > self.epoch else None
        if record.outcome != 1 or record.reason not in KEY_GROUNDS:
            return None
        if document is None:
            raise NotJudged
        decided = self.refuses_key(record, document)
        return None if decided == record.reason else f"should be {decided}"

    def refuses_key(self, record, document):
        history = self.keys(record.index)
        if history is None:
            raise NotJudged
        if history.serial >= 1024:
            return 16
        given = document["endorsements"]
        leaf = self.leaf(given["after"]) if given["after"] < record.index else None
        if leaf is None and not self.whole:
            raise NotJudged
        if leaf != given["leaf"]:
            return 17
        refusal = self.ledger.refuses_change(history, record, document)
        if refusal is None and not self.whole:
            raise NotJudged
        last = [change["until"] for change in document["changes"]
                if change["action"] == RETIRE and change["role"] == 2]
        return refusal or (16 if last and max(last) > self.epoch else None)

    # What is known, and what is not.

    def absent(self):
        self.guessed = self.guessed or self.withheld or not self.whole

    def missing(self):
        if self.withheld or not self.whole:
            raise NotJudged

    def again(self, known, content):
        """(NEW,), (SAME, index) or (OTHER,)."""
        if known is None:
            self.absent()
            return (NEW,)
        return (SAME, known[1]) if known[0] == content else (OTHER,)

    def invoice(self, tenant, uid):
        invoice = self.invoices.get(uid)
        if invoice is None or invoice["tenant"] != tenant:
            self.missing()
            return None
        return invoice

    def is_in(self, name, names, needed):
        if name in names:
            return True
        self.missing() if needed else self.absent()
        return False

    # The rules.

    def decide(self, record, document):
        decide = getattr(self, record.kind.lower())
        return decide(record, document)

    def issue(self, record, document):
        metadata, content = document["metadata"], content_of(document)
        tenant, asked = metadata["tenant"], (record.kind, content)
        known = self.again(self.requests.get((tenant, document["request"])), asked)
        if known[0] != NEW:
            return known
        uid = self.identities.get(metadata["identity"])
        issued = self.invoices.get(uid)
        known = self.again(issued and (issued["content"], issued["index"]), asked)
        if known[0] != NEW:
            return known
        for other in metadata["others"]:
            if self.is_in((tenant, other), self.others, False):
                return REFUSED
        if not document["renditions"] or self.is_in(document["uid"], self.invoices, False):
            return REFUSED
        if record.kind == "REVERSE" and self.reversal(metadata) != OK:
            return REFUSED
        return OK if self.held(record, document) else REFUSED

    reverse = issue

    def reversal(self, metadata):
        by = reversed_by(metadata)
        original = by and self.invoice(metadata["tenant"], by[0])
        if not original or original["reversals"] >= MOST_REVERSALS:
            return REFUSED
        return REFUSED if taken_off(original, by[1]) is None else OK

    def add_rendition(self, record, document):
        tenant, uid, rendition = document["tenant"], document["uid"], document["renditions"][0]
        asked = (record.kind, (uid, named(rendition)))
        known = self.again(self.requests.get((tenant, document["request"])), asked)
        if known[0] != NEW:
            return known
        invoice = self.invoice(tenant, uid)
        if invoice is None:
            return REFUSED
        known = self.again(self.roles.get((uid, rendition["role"])), named(rendition))
        if known[0] != NEW:
            return known
        fits = invoice["renditions"] < MOST_RENDITIONS and self.held(record, document)
        return OK if fits else REFUSED

    def void(self, record, document):
        tenant, uid, request, reason = document["texts"]
        known = self.again(self.requests.get((tenant, request)), (record.kind, (uid, reason)))
        if known[0] != NEW:
            return known
        invoice = self.invoice(tenant, uid)
        gone = invoice is None or invoice["reversal"] or invoice["void"]
        return REFUSED if gone or invoice["taken"] or invoice["whole"] else OK

    def download(self, _, document):
        tenant, uid = document["tenant"], document["uid"]
        if self.invoice(tenant, uid) is None:
            return REFUSED
        has = self.is_in((tenant, uid, document["sha256"]), self.bytes, True)
        return OK if has else REFUSED

    def download_end(self, record, document):
        for at, bytes_ in document["ends"]:
            if (download := self.downloads.get(at)) is None:
                raise NotJudged  # L14 to L16 say what is wrong with it.
            if (record.node, document["tenant"]) != download[:2] or bytes_ > download[2]:
                return REFUSED
        return OK

    def boot(self, record, document):
        node = self.nodes.get(record.node)
        if node is None and not self.whole:
            raise NotJudged
        disk = document["incarnation"]
        if node is None or disk == bytes(16) or node["disk"] not in (None, disk):
            return REFUSED
        return OK

    def leader(self, record, document):
        term, leader, _ = document["numbers"]
        if leader != record.node:
            return REFUSED
        if self.term is None and not self.whole:
            raise NotJudged
        return OK if self.term is None or term > self.term else REFUSED

    def body_lost(self, _, document):
        if not self.is_in(document["named"], self.bodies, True):
            return REFUSED
        return REFUSED if self.is_in(document["body"], self.lost, False) else OK

    def waiver(self, record, document):
        at = document["index"]
        leaf = self.leaf(at) if at < record.index else None
        if leaf is None and not self.whole:
            raise NotJudged
        if leaf != document["leaf"]:
            return REFUSED
        return REFUSED if self.is_in(at, self.waived, False) else OK

    def held(self, record, document):
        """D5; each holding by itself was asked before."""
        if not self.whole or self.preparing or not self.voters or len(self.voters) != 1:
            raise NotJudged
        voters = self.voters[0]
        if self.target is not None and sorted(self.target) != sorted(voters):
            raise NotJudged
        members = [(node, votes) for nodes, votes in ((voters, True), (self.learners, False))
                   for node in nodes if votes or node not in voters]
        known = self.ledger.history.members
        members = [(node, known[node].zone, known[node].region, votes)
                   for node, votes in members if node in known]
        for rendition in document["renditions"]:
            holders = set()
            for holding in document["holdings"]:
                of_this = all(holding[part] == rendition[part]
                              for part in ("body", "sha256", "root", "length"))
                node = self.nodes.get(holding["node"])
                runs = node and node["runs"] and node["disk"] == holding["incarnation"]
                if of_this and runs and 0 <= self.epoch - holding["epoch"] <= 1:
                    holders.add(holding["node"])
            if not meets(record.level, members, holders):
                return False
        return True

    # What a record leaves behind.

    def take(self, record, document):
        if record.outcome == 1:
            return
        if document is None:
            self.withheld = self.withheld or record.kind in OF_INVOICES
            self.whole = self.whole and record.kind in NOT_SYSTEM
            return
        if record.outcome == 2:
            if record.kind in ("ISSUE", "REVERSE"):
                self.did(record, document["metadata"]["tenant"], document["request"],
                         content_of(document), record.duplicate_of)
            return
        take = getattr(self, "take_" + record.kind.lower(), None)
        if take:
            take(record, document)

    def did(self, record, tenant, request, content, index):
        self.requests.setdefault((tenant, request), ((record.kind, content), index))

    def take_genesis(self, _, document):
        for member in document["members"]:
            self.nodes[member["node"]] = {"key": member["statement"], "disk": None, "runs": False}

    def take_boot(self, record, document):
        self.nodes[record.node] = {"key": document["key"], "disk": document["incarnation"],
                                   "runs": True}

    def take_key(self, _, document):
        for change in document["changes"]:
            node = self.nodes.get(change["node"])
            if change["role"] != 2:
                continue
            if change["action"] == ADD and node is None:
                self.nodes[change["node"]] = {"key": change["key"], "disk": None, "runs": False}
            elif change["action"] != ADD and node and node["key"] == change["key"]:
                node["runs"] = False

    def take_issue(self, record, document):
        metadata, uid, content = document["metadata"], document["uid"], content_of(document)
        tenant = metadata["tenant"]
        self.did(record, tenant, document["request"], content, record.index)
        self.identities[metadata["identity"]] = uid
        self.others.update((tenant, other) for other in metadata["others"])
        for rendition in document["renditions"]:
            self.add(tenant, uid, rendition, record.index)
        original = None
        if record.kind == "REVERSE" and (by := reversed_by(metadata)):
            original = self.invoices.get(by[0])
        self.invoices[uid] = {
            "tenant": tenant, "index": record.index, "content": (record.kind, content),
            "total": metadata["total"], "taken": 0, "whole": False, "void": False,
            "renditions": len(document["renditions"]), "reversals": 0,
            "reversal": record.kind == "REVERSE"}
        if original and original["tenant"] == tenant:
            amount = taken_off(original, by[1])
            if amount == "whole":
                original["whole"] = True
            elif amount is not None:
                original["taken"] += amount
            original["reversals"] += 1

    take_reverse = take_issue

    def add(self, tenant, uid, rendition, index):
        self.roles[(uid, rendition["role"])] = (named(rendition), index)
        self.bytes.add((tenant, uid, rendition["sha256"]))
        self.bodies.add((tenant, uid, rendition["role"], rendition["body"], rendition["sha256"],
                         rendition["length"]))

    def take_add_rendition(self, record, document):
        tenant, uid, rendition = document["tenant"], document["uid"], document["renditions"][0]
        self.did(record, tenant, document["request"], (uid, named(rendition)), record.index)
        self.add(tenant, uid, rendition, record.index)
        if uid in self.invoices:
            self.invoices[uid]["renditions"] += 1

    def take_void(self, record, document):
        tenant, uid, request, reason = document["texts"]
        self.did(record, tenant, request, (uid, reason), record.index)
        if uid in self.invoices:
            self.invoices[uid]["void"] = True

    def take_download(self, record, document):
        length = document["end"] - document["start"]
        self.downloads[record.index] = (record.node, document["tenant"], max(0, length))

    def take_download_end(self, _, document):
        for at, _ in document["ends"]:
            self.downloads.pop(at, None)

    def take_leader(self, _, document):
        self.term = max(document["numbers"][0], self.term or 0)

    def take_membership(self, _, document):
        self.voters = document["voters"]

    def take_mode(self, _, document):
        self.preparing = document["phase"] == 1
        if document["phase"] == 2:
            self.target, self.learners = document["voters"], document["learners"]

    def take_policy(self, _, document):
        for name, value in document["settings"]:
            if name == "upload_epoch":
                self.epoch = value

    def take_body_lost(self, _, document):
        self.lost.add(document["body"])

    def take_waiver(self, _, document):
        self.waived.add(document["index"])
