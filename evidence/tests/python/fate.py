"""What became of a promise: the table of FORMAT.md, section 20.

What it is for: `verify.py` shows it each record of a bundle. It promises the fate and its index
as the table has them; verifying promise and bundle is left to `verify.py`.
"""

CODES = {"KEPT": 0, "LOST": 25}
NOT_KEPT = 27


class Fate:
    def __init__(self, promised, download):
        """A promise that verifies: its statement as if it were a record, and its opening."""
        self.promised, self.deadline = promised, download["deadline"]
        self.place = (promised.node, promised.lane, promised.seq)
        self.recorded, self.denied, self.passed = None, None, None
        self.whole = False

    def begin(self, manifest):
        self.whole = manifest["first"] == 0 and manifest["selection"] == ""

    def see(self, record, opened):
        late = self.deadline is not None and record.committed_at > self.deadline
        if late and self.passed is None:
            self.passed = record.index
        if (record.node, record.lane, record.seq) == self.place:
            self.recorded = (self.of_record(record, late), record.index)
        if (record.node == self.promised.node and record.ok and record.kind == "BOOT" and opened
                and not self.denied):
            said = self.of_boot(record, opened["outboxes"])
            self.denied = (said, record.index) if said else None

    def of_record(self, record, late):
        if record.statement_hash != self.promised.statement_hash:
            return "OTHER"
        if not record.ok:
            return "REFUSED"
        return "OVERDUE" if late else "KEPT"

    def of_boot(self, boot, outboxes):
        older = boot.witnessed_at < self.promised.witnessed_at
        named = next((o for o in outboxes if o["id"] == self.promised.lane[1]), None)
        if named is None:
            return "BROKEN" if self.whole and not older else None
        denies = named["next"] <= self.promised.seq
        if named["lost"]:
            if older:
                return "BROKEN"
            return "LOST" if denies or self.whole else None
        return "BROKEN" if denies and not older else None

    def stands(self):
        """Whether the statement is on record: then it is not asked again who signed it."""
        return self.recorded is not None and self.recorded[0] != "OTHER"

    def told(self):
        if self.recorded or self.denied:
            return self.recorded or self.denied
        if not self.whole:
            return ("NOT_SHOWN", None)
        return ("PENDING", None) if self.passed is None else ("OVERDUE", self.passed)
