// SPDX-License-Identifier: Apache-2.0
// The interface between the program and MPI. The program is built without MPI; it loads adapter.c, which is compiled
// with the mpicc of the machine, when a launcher such as mpirun has started it. OpenMPI and MPICH have different binary
// interfaces, and both are hidden behind this one.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Swift reads the nullability, which is an extension of Clang.
#ifndef __clang__
#define _Nonnull
#define _Nullable
#endif

// Changes with every change of the structure below.
#define BF_MPI_ADAPTER_VERSION 4

// Functions are collective and called from one thread, the one that called start, unless their comment says otherwise.
// Errors of MPI end the job, as is MPI's default.
typedef struct {
    int version;
    // MPI_Init_thread; NULL, or an error.
    const char *_Nullable (*_Nonnull start)(void);
    // Valid after start.
    int rank, size;
    // Rank and number of the processes that share this machine's memory.
    int local_rank, local_size;
    // Whether functions may be called while another thread is in one; the functions that need it are below.
    bool has_threads;
    // The name and version of the MPI library.
    char library[128];

    // Largest values over all processes. Sleeps while it waits, unlike MPI's functions, which use the processor.
    void (*_Nonnull meet)(int64_t *_Nonnull values, int count);
    // Sums over all processes, modulo 2^32 and 2^64. `piece`: the most values of one call of MPI, at most 2^26.
    void (*_Nonnull sum_int32)(int32_t *_Nonnull values, size_t count, size_t piece);
    void (*_Nonnull sum_int64)(int64_t *_Nonnull values, size_t count);
    // Sums of consecutive parts of `values`, of counts[r] values for process r, which receives only its own. `piece`:
    // the most values of one call of MPI; 0 for one call for all, which suits networks.
    void (*_Nonnull sum_parts)(int32_t *_Nonnull values, const int *_Nonnull counts, int piece);
    // Sends part r of `values`, counts[r] values, from process r to all others.
    void (*_Nonnull share_parts)(int32_t *_Nonnull values, const int *_Nonnull counts);
    // `bytes` of all processes in the order of their ranks; sizes[r] bytes from process r.
    void (*_Nonnull gather)(const void *_Nonnull bytes, const int *_Nonnull sizes, void *_Nonnull all);

    // With has_threads, in any thread, not collective:

    // Sends a message, and returns when `bytes` may be used again.
    void (*_Nonnull send)(const void *_Nonnull bytes, int count, int rank);
    // The length of a message that has arrived, and its sender; -1 if none has.
    int (*_Nonnull arrived)(int *_Nonnull rank);
    // Receives a message that has arrived.
    void (*_Nonnull receive)(void *_Nonnull bytes, int count, int rank);
    // Asks all other processes to answer within `seconds`; answered[r] says who did.
    void (*_Nonnull roll_call)(double seconds, bool *_Nonnull answered);
    // Answers the roll calls of other processes that have arrived.
    void (*_Nonnull answer_roll_call)(void);
    // Ends all processes of the job; also without has_threads.
    void (*_Nonnull abort)(int status);
    // MPI_Finalize.
    void (*_Nonnull finish)(void);
} bf_mpi_adapter;

// The one exported function of the adapter's library.
#define BF_MPI_ADAPTER_FUNCTION "bitsfusion_mpi_adapter"
