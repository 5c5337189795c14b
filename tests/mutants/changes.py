"""One-line changes of the product, each of which the tests named beside it must notice.

A change that no test would miss is a promise nobody keeps. `SURVIVE` holds those that may pass, with the
reason; more than two of them are a defect.
"""

# ruff: noqa: E501 - a mutant a line is a table

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands once in `file` and becomes `new`; `tests` are paths below ``tests/``."""

    file: str
    old: str
    new: str
    tests: str


_ARCHIVE = "archive/test_durability.py archive/test_archive_crash.py"
_FILES = "dataset/test_durable_files.py dataset/test_part10.py"

MUTANTS = (
    # --- durability
    Mutant("archive/files.py", "            os.fsync(fd)\n\n    def announce", "            pass\n\n    def announce", _ARCHIVE),
    Mutant("archive/files.py", 'for folder in folders if self.syncs else ():', "for folder in ():", _ARCHIVE),
    Mutant("archive/files.py", 'touched |= {os.path.dirname(folder), "objects"}', "pass", _ARCHIVE),
    Mutant("archive/commit.py", "            self._files.sync_folders(folders)\n", "", _ARCHIVE),
    Mutant("archive/commit.py", "            self._files.sync_file(job.writer.fileno())\n", "", _ARCHIVE),
    Mutant("archive/commit.py", "self._files.announce([one.entry.path for one in new])", "pass", _ARCHIVE),
    Mutant("archive/index.py", "PRAGMA synchronous = NORMAL", "PRAGMA synchronous = OFF", _ARCHIVE),
    Mutant("archive/index.py", "PRAGMA journal_mode = WAL", "PRAGMA journal_mode = MEMORY", _ARCHIVE),
    Mutant("archive/files.py", "        os.fsync(self._lock)\n", "", _ARCHIVE),
    Mutant("dataset/part10.py", "                os.fsync(self._fd)\n", "                pass\n", _FILES),
    Mutant("dataset/part10.py", "os.O_RDWR | os.O_CREAT | os.O_EXCL |", "os.O_RDWR | os.O_CREAT |", _FILES),
    Mutant("dataset/part10.py", 'getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)\n        self._fd', '0\n        self._fd', _FILES),
    Mutant("dataset/part10.py", "        fd, self._fd = self._fd, -1\n", "        fd, self._fd = -1, -1\n", _FILES),
    # --- the archive
    Mutant("archive/commit.py", "                self._files.withdraw(one.entry.path)\n", "                pass\n", "archive/test_upkeep.py"),
    Mutant("archive/index.py", "            if replace_all:\n                self._mark_whole()", "            if False:\n                self._mark_whole()", "archive/test_upkeep.py"),
    Mutant("archive/archive.py", "                self._compare(power)  # which makes it ready\n", "                self._ready = True\n", "archive/test_upkeep.py"),
    Mutant("archive/archive.py", "            if not power:  #", "            if True:  #", "archive/test_comparing.py"),
    Mutant("archive/comparing.py", " and not is_there(one)\n            )", "\n            )", "archive/test_comparing.py"),
    Mutant("archive/words.py", "DELETE FROM study_words WHERE study_id = ?", "DELETE FROM study_words WHERE 0 = ?", "archive/test_words.py"),
    Mutant("archive/words.py", "found if len(found) <= _MOST else", "found or", "archive/test_words.py"),
    Mutant("archive/matching.py", 'known = [run.rstrip("^") for run in runs]', "known = list(runs)", "archive/test_words.py archive/test_matching.py"),
    Mutant("archive/query.py", "if bad is not None or", "if", "archive/test_archive_find.py"),
    Mutant("archive/files.py", "self._size + size > self._most", "False", "archive/test_aside.py"),
    Mutant("association/decompressing.py", "asyncio.timeout(self._timeout)", "asyncio.timeout(None)", "association/test_decompressing.py"),
    Mutant("dataset/decompress.py", "if expected > max_decoded:", "if False:", "dataset/test_decompress.py"),
    Mutant("archive/upkeep.py", "kept = self._files.quarantine(one.path)", "kept = one.path.unlink()", "archive/test_archive_crash.py"),
    Mutant("archive/upkeep.py", "            self._index.remove(one.path.stem for one in torn)\n", "", "archive/test_archive_crash.py"),
    Mutant("archive/files.py", '        self.sync_folders([os.path.relpath(path.parent, self.root), "quarantine"])\n', "", "archive/test_archive_crash.py"),
    Mutant("archive/upkeep.py", "max_depth=ANY_DEPTH), found", "max_depth=64), found", "archive/test_upkeep.py"),
    Mutant("archive/upkeep.py", "except (ObjectRefused, OSError) as error:", "except ObjectRefused as error:", "archive/test_upkeep.py"),
    Mutant("archive/files.py", "(self._aside[uid] >= MAX_CONFLICTS or", "(", "archive/test_aside.py"),
    Mutant("archive/files.py", " or self._aside.total() >= MAX_CONFLICTS_IN_ALL):", "):", "archive/test_aside.py"),
    Mutant("archive/files.py", "self._aside[uid] += new", "self._aside[uid] += 1", "archive/test_aside.py"),
    Mutant("archive/commit.py", "known.file != _identity(os.stat(stored.path))", "False", "archive/test_commit.py"),
    Mutant("archive/copying.py", "        os.sync()\n", "", "archive/test_copying.py"),
    Mutant("archive/index.py", "len(self._studies) + len(self._series) > _ROWS_KEPT", "False", "archive/test_index.py"),
    Mutant("archive/files.py", "FILE_MODE = 0o640", "FILE_MODE = 0o644", "archive/test_aside.py"),
    Mutant("archive/files.py", "FOLDER_MODE = 0o750", "FOLDER_MODE = 0o755", "archive/test_aside.py"),
    Mutant("archive/files.py", "if sizes[0] != sizes[1]:", "if False:", "archive/test_archive.py"),
    Mutant("archive/commit.py", "writer.bytes_written <= SCANNED_IN_TURN and", "True and", "archive/test_commit.py"),
    Mutant("archive/commit.py", "        self._scanners.close()\n", "", "archive/test_commit.py"),
    Mutant("archive/commit.py", "        for one in published:\n            try:", "        for one in published[:1]:\n            try:", "archive/test_upkeep.py"),
    Mutant("archive/index.py", '            connection.execute("BEGIN")  # both are of one snapshot\n', "", "archive/test_index.py"),
    Mutant("archive/index.py", "if self._closed or connection.in_transaction or", "if", "archive/test_index.py"),
    Mutant("archive/find.py", "monotonic() > until", "False", "archive/test_search.py"),
    Mutant("archive/matching.py", "            for test in tests:\n                check()\n", "            for test in tests:\n", "archive/test_search.py"),
    Mutant("archive/search.py", "                self._connection.interrupt()\n", "                pass\n", "archive/test_archive_find.py"),
    Mutant("archive/scanning.py", "self._put(used + spent, work)", "self._put(0.0, work)", "archive/test_scanning.py"),
    Mutant("archive/scanning.py", "                    if spent >= TURN:", "                    if False:", "archive/test_commit.py archive/test_scanning.py"),
    Mutant("archive/text.py", "    except Exception:  # noqa", "    except ValueError:  # noqa", "archive/test_upkeep.py"),
    # --- reading and scanning
    Mutant("dataset/walk.py", "                    if stop > end:\n", "                    if False:\n", "dataset/test_scan.py"),
    Mutant("dataset/walk.py", "                if self.left < 0:", "                if False:", "dataset/test_scan.py"),
    Mutant("dataset/deflated.py", "if total > limit:", "if False:", "dataset/test_scan.py archive/test_commit.py"),
    Mutant("dataset/walk.py", "        if length > end - start:\n            raise", "        if False:\n            raise", "dataset/test_scan.py"),
    Mutant("dataset/walk.py", "if (len(stack) + 1) // 2 > self.max_depth", "if len(stack) // 4 > self.max_depth", "dataset/test_scan.py"),
    Mutant("dataset/walk.py", "                self.floor = max(0, self.left - STEP)\n                yield\n", "                self.floor = 0\n", "dataset/test_scan.py"),
    Mutant("dataset/window.py", "        if not more:\n            raise", "        if not more:\n            return data + bytes(size - len(data))\n            raise", "dataset/test_window.py"),
    Mutant("dataset/window.py", "if reads_on else SMALLEST, LARGEST", "if reads_on else LARGEST, LARGEST", "dataset/test_window.py"),
    Mutant("dataset/convert.py", "len(held) >= size and sent + size < self.size", "len(held) >= size", "dataset/test_convert.py"),
    Mutant("dataset/leftovers.py", "except (OSError, OverflowError):", "except OSError:", "dataset/test_leftovers.py"),
    # --- PDUs
    Mutant("pdu/codec.py", "    if length < 2:\n", "    if length < 1:\n", "pdu"),
    Mutant("pdu/codec.py", "    if length > left:\n", "    if length > left + 1:\n", "pdu"),
    Mutant("pdu/codec.py", "if context_id % 2 == 0:", "if False:", "pdu"),
    Mutant("pdu/codec.py", "if len(set(ids)) != len(ids):", "if False:", "pdu"),
    Mutant("pdu/codec.py", "> ASSOCIATE_ITEMS:", "> 10 * ASSOCIATE_ITEMS:", "pdu/test_codec.py"),
    Mutant("pdu/wire.py", "            if length > len(view) - offset:\n", "            if False:\n", "pdu"),
    Mutant("pdu/reader.py", "self._last = bool(control & 2)", "self._last = bool(control & 1)", "pdu"),
    Mutant("pdu/reader.py", "self._pdv_left = length - 2", "self._pdv_left = length - 1", "pdu"),
    Mutant("pdu/reader.py", "        self.started += 1\n", "        self.started = 1\n", "pdu server/test_limits.py"),
    # --- DIMSE
    Mutant("dimse/outstanding.py", "if len(self.requests) >= self._limit:", "if len(self.requests) > self._limit:", "dimse/test_outstanding.py"),
    Mutant("dimse/outstanding.py", "        self._refused = 0\n", "", "dimse/test_outstanding.py"),
    Mutant("dimse/outstanding.py", "if not self._lenient:", "if False:", "dimse/test_outstanding.py"),
    Mutant("server/destinations.py", "self._shares.turn(address)", 'self._shares.turn("")', "server/test_destinations.py"),
    Mutant("server/destinations.py", "lowest_free() >= self._capacity", "False", "server/test_destinations.py"),
    Mutant("dimse/session.py", "if len(incoming.command) + len(fragment.data) > self.limits.command_length:", "if False:", "dimse"),
    Mutant("dimse/session.py", "        if context_id != context.context_id:\n", "        if False:\n", "dimse"),
    Mutant("dimse/checks.py", "return found is not None and found[0] == context_id and", "return found is not None and", "dimse"),
    Mutant("dimse/checks.py", "if composite and sop_class(request) != context.abstract_syntax:", "if False:", "dimse"),
    Mutant("dimse/suboperations.py", "if cancelled and self.remaining:", "if cancelled:", "dimse/test_suboperations.py"),
    Mutant("dimse/suboperations.py", " if value <= 0xFFFF}", "}", "dimse/test_suboperations.py"),
    Mutant("dimse/contexts.py", "return min(a, b) if a and b else a or b", "return min(a, b)", "dimse"),
    # --- threads of queries
    Mutant("archive/find.py", "            if number:\n", "            if False:\n", "archive/test_search.py"),
    Mutant("archive/matching.py", "check, MAX_COMPARED)", "check)", "archive/test_matching.py"),
    Mutant("archive/matching.py", "check, MAX_NAMES_COMPARED)", "check)", "archive/test_matching.py"),
    Mutant("archive/matching.py", "> MAX_PATTERNS:", "> 1000:", "archive/test_matching.py"),
    Mutant("archive/matching.py", "    for value in values:\n        check()\n", "    for value in values:\n", "archive/test_search.py"),
    Mutant("archive/query.py", "    for tag in tags:\n        check()\n", "    for tag in tags:\n", "archive/test_search.py"),
    Mutant("server/archive_service.py", "        async with self._shares.turn(address):\n", "        if True:\n", "server/test_archive_service.py"),
    Mutant("server/archive_service.py", "async with self._answering.setdefault(request.association, asyncio.Lock()):", "if True:", "server/test_archive_service.py"),
    Mutant("server/archive_service.py", ", executor=self._searching)", ")", "server/test_archive_service.py"),
    Mutant("server/performer.py", ", executor=self._shared.decoders)", ")", "server/test_performer.py"),
    Mutant("server/performer.py", "        async with self._shared.decoding.turn(request.origin):\n", "        if True:\n", "server/test_performer.py"),
    Mutant("server/performer.py", "                max_elements=limits.max_identifier_elements,\n", "", "server/test_limits.py"),
    # --- times and limits of a server
    Mutant("association/watchdog.py", "if connection.writing_held and quiet is not None:", "if False:", "server/test_one_peer.py"),
    Mutant("association/watchdog.py", "watch.message * (1 + connection.message_bytes // MESSAGE_PART)", "watch.message", "server/test_one_peer.py"),
    Mutant("association/watchdog.py", "if watch.message is not None and connection.message_since is not None:", "if False:", "server/test_one_peer.py"),
    Mutant("association/transport.py", "        if taken > self._taken:", "        if True:", "server/test_one_peer.py"),
    Mutant("association/transport.py", "if moves or upper.filled != filled:", "if True:", "server/test_one_peer.py"),
    Mutant("association/transport.py", "        if self._turns.over:\n", "        if False:\n", "server/test_limits.py association/test_turns.py"),
    Mutant("association/turns.py", "                if monotonic() - begun > TURN:", "                if False:", "association/test_turns.py"),
    Mutant("association/gathered.py", "        if len(data) < SMALL:", "        if False:", "association/test_gathered.py"),
    Mutant("server/listener.py", "full = sock.fileno() >= self._capacity", "full = False", "server/test_limits.py"),
    Mutant("association/transport.py", "upper.pdus_started != self._pdu_number", "False", "server/test_limits.py"),
    Mutant("server/suboperations.py", "limit = self._limits.inactivity_timeout\n", "limit = None\n", "server/test_one_peer.py"),
    Mutant("server/accepted.py", "        note = self._reception.logbook.note\n        try:\n            await self._handshake()", "        note = self._reception.logbook.note\n        self._deadline = self._loop.time() + self._reception.limits.artim_timeout\n        try:\n            await self._handshake()", "server/test_limits.py"),
    Mutant("server/accepted.py", "            opening=self._deadline,\n", "", "server"),
    Mutant("server/admission.py", "if open_now >= limits.max_associations:", "if open_now > limits.max_associations:", "server/test_limits.py"),
    Mutant("server/admission.py", "reserved=request.reserved,", 'reserved=b"",', "server/test_limits.py"),
    Mutant("server/accepted.py", "            origin=self.origin,\n", "", "server/test_origin.py"),
    Mutant("server/access.py", "return any((mapped or found) in network", "return any(found in network", "server/test_access.py"),
    Mutant("association/stores.py", "            async with self.turn():\n                return await self._send_converted(", "            if True:\n                return await self._send_converted(", "server/test_resources.py"),
    Mutant("association/stores.py", "                connection.narrow(LITTLE)\n", "                pass\n", "server/test_resources.py"),
    Mutant("association/outgoing.py", "            if not ahead:\n                close()\n", "            pass\n", "server/test_resources.py"),
    Mutant("association/stores.py", "            if not conversion.begun:", "            if False:", "association/test_converting.py"),
    Mutant("association/stores.py", "            if not self.wanted():  # decoding may take long\n                return []\n", "", "association/test_decompressing.py"),
    Mutant("association/converting.py", "inflate(self._held, MAX_COPIED, MAX_COPIED)", "inflate(self._held, 10 * MAX_COPIED, MAX_COPIED)", "association/test_converting.py"),
    Mutant("association/outgoing.py", "coming.drop(close)", "coming.drop(lambda: None)", "association/test_outgoing.py"),
    Mutant("association/outgoing.py", "if len(data) < min(part, end - position):", "if not data:", "association/test_outgoing.py"),
    # --- the command line
    Mutant("api/cli/logs.py", "self._queue.put_nowait(record)", "self._queue.put(record, timeout=60)", "api/test_logs.py"),
    Mutant("archive/logbook.py", "if message in said.texts or", "if", "archive/test_logbook.py"),
)  # fmt: skip

SURVIVE: dict[tuple[str, str], str] = {}
"""File and old text of a mutant that no test notices, and why it may."""
