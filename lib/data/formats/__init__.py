"""Files from scanners and other programs: each format's reader, and `opening.open`, which finds the right one."""
