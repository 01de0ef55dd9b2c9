"""An independent word count, by the rule of whorl wordcount."""
import collections

FOLD = bytes(byte + 32 if 65 <= byte <= 90 else 32 if byte <= 32 else byte for byte in range(256))


def words_of(*texts):
    counts = collections.Counter()
    for text in texts:
        counts.update(text.translate(FOLD).split(b" "))
    counts.pop(b"", None)
    return counts


def rows_of(*texts):
    """What the command prints for files of these contents."""
    rows = sorted(words_of(*texts).items(), key=lambda row: (-row[1], row[0]))
    return b"".join(b"%s\t%d\n" % row for row in rows)
