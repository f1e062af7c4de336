"""What the suite withstands: processes killed, files damaged, disks full, thousands of cases. `make soak`."""
