"""How many bytes of objects may be read before they are taken, by all who share a budget."""

from __future__ import annotations

from weakref import WeakValueDictionary


class Budget:
    """A number of bytes to share; `above` is the larger budget that this one is a part of."""

    __slots__ = ("__weakref__", "_above", "limit", "used")

    def __init__(self, limit: int, above: Budget | None = None) -> None:
        self.limit: int = limit
        self.used: int = 0
        self._above = above

    def take(self, size: int) -> bool:
        """Whether there was room for so many bytes, which are taken then."""
        if self.used + size > self.limit or (self._above is not None and not self._above.take(size)):
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Give back what was taken, in any parts."""
        self.used -= size
        if self._above is not None:
            self._above.give(size)


class Budgets:
    """A budget of `share` for each peer address, all within one of `limit`; one lives while it is used."""

    def __init__(self, limit: int, share: int) -> None:
        self.all: Budget = Budget(limit)
        self._share = share
        self._of: WeakValueDictionary[str, Budget] = WeakValueDictionary()

    def of(self, address: str) -> Budget:
        """That of an address."""
        found = self._of.get(address)
        if found is None:
            found = self._of[address] = Budget(self._share, self.all)
        return found
