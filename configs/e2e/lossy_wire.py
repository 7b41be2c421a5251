"""A cable that loses frames: passes them between two links and drops each with a given chance, from a seed. Runs in the
namespace that holds both links; does what `netem loss` does, on kernels without it, and the same way every time.

Usage: lossy_wire.py LINK LINK PERCENT SEED
"""

import random
import select
import socket
import sys


def main(a: str, b: str, percent: str, seed: str) -> None:
    """Passes frames until it is killed."""
    rng, chance = random.Random(int(seed)), float(percent) / 100
    ends = []
    for link in (a, b):
        end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        end.bind((link, 3))
        end.setblocking(False)
        ends.append(end)
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    print("ready", flush=True)
    while True:
        for end in select.select(ends, [], [])[0]:
            try:
                frame, address = end.recvfrom(65536)
                if address[2] != socket.PACKET_OUTGOING and rng.random() >= chance:
                    other[end].send(frame)
            except OSError:
                continue  # the other end's queue is full or its link is down: lost, as on any cable


if __name__ == "__main__":
    main(*sys.argv[1:])
