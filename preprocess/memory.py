"""The memory that a process keeps for what it allocates next."""


def keep_freed_memory() -> None:
    """Let this process keep 32 MiB of what it frees.

    A page's tree is some hundred kilobytes that are freed at once. glibc gives freed memory back
    to the system from 128 KiB on, so that each page had its memory mapped and cleared anew: a third
    of the parser's time. It keeps twice the size of the largest block that was mapped alone and
    freed (mallopt(3), M_MMAP_THRESHOLD). Other allocators are not changed by this.
    """
    bytes(2**24)  # zeros of the system, which are not touched
