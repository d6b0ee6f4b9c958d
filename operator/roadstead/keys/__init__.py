"""Keys that rotate over regions: which version is written with, who has proved that it can read it, and when it goes.

Pure: `schedule` (when a version is due), `versions` (the life of one), `decide` (the next step of a ring). Nothing here
ever holds key material.
"""
