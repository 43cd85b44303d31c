// SPDX-License-Identifier: Apache-2.0
// The adapter for MPI (version 3.0 or later), a library of its own:
//   mpicc -O2 -shared -fPIC -o bitsfusion-mpi.so adapter.c
// SwiftPM does not compile this file: the program needs no MPI to be built or run.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "adapter.h"

enum { tag_question = 1, tag_answer = 2, tag_message = 3 };

static bf_mpi_adapter adapter;
// Communicators of their own, whose messages never meet those of the collective functions.
static MPI_Comm roll_calls, messages;

static void wait_briefly(long nanoseconds) {
    const struct timespec pause = {0, nanoseconds};
    nanosleep(&pause, NULL);
}

static const char *start(void) {
    int provided = MPI_THREAD_SINGLE;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS) return "MPI_Init_thread failed";
    MPI_Comm_rank(MPI_COMM_WORLD, &adapter.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &adapter.size);
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, adapter.rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &adapter.local_rank);
    MPI_Comm_size(node, &adapter.local_size);
    MPI_Comm_free(&node);
    MPI_Comm_dup(MPI_COMM_WORLD, &roll_calls);
    MPI_Comm_dup(MPI_COMM_WORLD, &messages);
    adapter.has_threads = provided >= MPI_THREAD_MULTIPLE;
    char library[MPI_MAX_LIBRARY_VERSION_STRING];
    int length = 0;
    MPI_Get_library_version(library, &length);
    library[strcspn(library, "\n,")] = 0;
    snprintf(adapter.library, sizeof adapter.library, "%.100s", library);
    return NULL;
}

static void meet(int64_t *values, int count) {
    MPI_Request request;
    MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD, &request);
    // Processes that arrive at the same time wait microseconds; those that wait longer leave their processor to others.
    long pause = 1000;
    for (int polls = 0, done = 0;; polls++) {
        MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (done) return;
        if (polls < 100) continue;
        wait_briefly(pause);
        if (pause < 500000) pause *= 2;
    }
}

static void sum_int32(int32_t *values, size_t count, size_t piece) {
    for (size_t first = 0; first < count; first += piece) {
        const size_t part = count - first < piece ? count - first : piece;
        MPI_Allreduce(MPI_IN_PLACE, values + first, (int)part, MPI_INT32_T, MPI_SUM, MPI_COMM_WORLD);
    }
}

static void sum_int64(int64_t *values, size_t count) {
    const size_t piece = (size_t)1 << 20;
    for (size_t first = 0; first < count; first += piece) {
        const size_t part = count - first < piece ? count - first : piece;
        MPI_Allreduce(MPI_IN_PLACE, values + first, (int)part, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    }
}

// The start of every part, which the caller frees.
static int *offsets(const int *counts) {
    int *starts = malloc((size_t)adapter.size * sizeof *starts);
    if (starts == NULL) MPI_Abort(MPI_COMM_WORLD, 1);
    for (int rank = 0, sum = 0; rank < adapter.size; sum += counts[rank++]) starts[rank] = sum;
    return starts;
}

static void sum_parts(int32_t *values, const int *counts, int piece) {
    int *starts = offsets(counts);
    const size_t own = (size_t)counts[adapter.rank];
    // Not in place: MPICH 4.0 reads from the address that stands for MPI_IN_PLACE.
    int32_t *sums = malloc((piece == 0 ? own + 1 : (size_t)piece) * sizeof *sums);
    if (sums == NULL) MPI_Abort(MPI_COMM_WORLD, 1);
    if (piece == 0) {
        MPI_Reduce_scatter(values, sums, counts, MPI_INT32_T, MPI_SUM, MPI_COMM_WORLD);
        memcpy(values + starts[adapter.rank], sums, own * sizeof *sums);
    } else {
        // In turns, so that all processes send and receive at the same time.
        int longest = 0;
        for (int rank = 0; rank < adapter.size; rank++) longest = counts[rank] > longest ? counts[rank] : longest;
        for (int first = 0; first < longest; first += piece)
            for (int rank = 0; rank < adapter.size; rank++) {
                const int left = counts[rank] - first, part = left < piece ? left : piece;
                if (left <= 0) continue;
                int32_t *terms = values + starts[rank] + first;
                MPI_Reduce(terms, sums, part, MPI_INT32_T, MPI_SUM, rank, MPI_COMM_WORLD);
                if (rank == adapter.rank) memcpy(terms, sums, (size_t)part * sizeof *sums);
            }
    }
    free(sums);
    free(starts);
}

static void share_parts(int32_t *values, const int *counts) {
    int *starts = offsets(counts);
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, counts, starts, MPI_INT32_T, MPI_COMM_WORLD);
    free(starts);
}

static void gather(const void *bytes, const int *sizes, void *all) {
    int *starts = offsets(sizes);
    MPI_Allgatherv(bytes, sizes[adapter.rank], MPI_BYTE, all, sizes, starts, MPI_BYTE, MPI_COMM_WORLD);
    free(starts);
}

static void send_message(const void *bytes, int count, int rank) {
    MPI_Send(bytes, count, MPI_BYTE, rank, tag_message, messages);
}

static int arrived(int *rank) {
    int waiting = 0, count = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, tag_message, messages, &waiting, &status);
    if (!waiting) return -1;
    MPI_Get_count(&status, MPI_BYTE, &count);
    *rank = status.MPI_SOURCE;
    return count;
}

static void receive_message(void *bytes, int count, int rank) {
    MPI_Recv(bytes, count, MPI_BYTE, rank, tag_message, messages, MPI_STATUS_IGNORE);
}

static void answer_roll_call(void) {
    for (;;) {
        int waiting = 0, question = 0;
        MPI_Status status;
        MPI_Iprobe(MPI_ANY_SOURCE, tag_question, roll_calls, &waiting, &status);
        if (!waiting) return;
        MPI_Recv(&question, 1, MPI_INT, status.MPI_SOURCE, tag_question, roll_calls, MPI_STATUS_IGNORE);
        MPI_Send(&question, 1, MPI_INT, status.MPI_SOURCE, tag_answer, roll_calls);
    }
}

static void roll_call(double seconds, bool *answered) {
    // The number of this call tells its answers from late ones of an earlier call. A process that has stopped may leave
    // the question of an earlier call unsent, whose memory is not used again.
    enum { calls = 256 };
    static int numbers[calls], number = 0;
    number++;
    int *question = &numbers[number % calls];
    *question = number;
    for (int rank = 0; rank < adapter.size; rank++) {
        answered[rank] = rank == adapter.rank;
        if (answered[rank]) continue;
        MPI_Request request;
        MPI_Isend(question, 1, MPI_INT, rank, tag_question, roll_calls, &request);
        MPI_Request_free(&request);
    }
    for (double waited = 0; waited < seconds; waited += 0.02) {
        answer_roll_call();
        for (;;) {
            int arrived = 0, answer = 0;
            MPI_Status status;
            MPI_Iprobe(MPI_ANY_SOURCE, tag_answer, roll_calls, &arrived, &status);
            if (!arrived) break;
            MPI_Recv(&answer, 1, MPI_INT, status.MPI_SOURCE, tag_answer, roll_calls, MPI_STATUS_IGNORE);
            if (answer == number) answered[status.MPI_SOURCE] = true;
        }
        int missing = 0;
        for (int rank = 0; rank < adapter.size; rank++) missing += !answered[rank];
        if (missing == 0) return;
        wait_briefly(20000000);
    }
}

static void abort_job(int status) { MPI_Abort(MPI_COMM_WORLD, status); }

static void finish(void) {
    MPI_Comm_free(&roll_calls);
    MPI_Comm_free(&messages);
    MPI_Finalize();
}

static bf_mpi_adapter adapter = {
    .version = BF_MPI_ADAPTER_VERSION,
    .start = start,
    .meet = meet,
    .sum_int32 = sum_int32,
    .sum_int64 = sum_int64,
    .sum_parts = sum_parts,
    .share_parts = share_parts,
    .gather = gather,
    .send = send_message,
    .arrived = arrived,
    .receive = receive_message,
    .roll_call = roll_call,
    .answer_roll_call = answer_roll_call,
    .abort = abort_job,
    .finish = finish,
};

__attribute__((visibility("default"))) bf_mpi_adapter *bitsfusion_mpi_adapter(void) { return &adapter; }
