"""How many images a run takes: more, as long as that is quicker; fewer, where memory ends."""

from dataclasses import dataclass

GAIN = 0.95  # of the time an image took before: if it takes no less than this, no more are tried


@dataclass
class BatchSize:
    """The size of the next run, found from how the last ones went.

    `most`: never above this; `least`: never below. The first run of a size is not timed: CUDA
    chooses kernels and takes memory in it.
    """

    size: int
    most: int
    least: int = 1
    _fastest: float = float("inf")  # seconds an image
    _warm: bool = False

    def ran(self, images: int, seconds: float) -> None:
        """A run of `images` went well: double the size if the last doubling paid."""
        if images < self.size or self.size >= self.most:
            return
        if not self._warm:
            self._warm = True
            return
        if seconds / images > GAIN * self._fastest:
            self.size = self.most = self.size // 2
            return
        self._fastest = seconds / images
        self.size = min(2 * self.size, self.most)
        self._warm = False

    def too_large(self) -> bool:
        """A run was more than memory holds: halve the size; return whether that can be."""
        if self.size <= self.least:
            return False
        self.size = self.most = self.size // 2
        return True
