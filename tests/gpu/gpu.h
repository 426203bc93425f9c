/* What the program does for scripts/test-gpu.sh. Each returns the exit status. */
#ifndef GPU_H
#define GPU_H

/* Runs the kernels of the PTX on the device, and compares with a table of sums and with plain copies. */
int check_kernels(const char *ptx_path, const char *sums_path);

/* Puts and gets while streams wait, more and more of them. */
int check_streams(void);

/* Puts and gets from device memory, beside copies and storage by themselves, in a folder on the storage. */
int bench(const char *folder, const char *ptx_path);

#endif
