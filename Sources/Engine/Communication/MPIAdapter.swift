// SPDX-License-Identifier: Apache-2.0
// Finds out whether a launcher has started this process as one of several, and loads the library that talks to MPI.

import CMPIAdapter
import Files
import Foundation

/// What went wrong with MPI.
public enum MPIError: Error, Equatable, Sendable {
    /// A launcher started several processes, but the adapter is not at its path.
    case adapterMissing(processes: String, path: String)
    /// The adapter cannot be loaded.
    case adapterInvalid(path: String, reason: String)
    /// The adapter belongs to another version of the program.
    case adapterVersion(path: String, expected: Int, found: Int)
    /// MPI could not be started.
    case startFailed(reason: String)
    /// MPI sees another number of processes than the launcher has started.
    case otherSize(processes: String, size: Int, library: String)
    /// The library cannot be called from two threads.
    case noThreads(library: String)
    /// Processes called different functions.
    case differentOperations(rank: Int, operation: String)

    public var description: String {
        switch self {
        case .adapterMissing(let processes, let path):
            "\(processes), but \(path) does not exist; run `make setup-mpi`, which "
                + "compiles it, or name it with BITSFUSION_MPI"
        case .adapterInvalid(let path, let reason):
            "\(path): cannot be loaded: \(reason); compile it with the mpicc of this MPI: `make setup-mpi`"
        case .adapterVersion(let path, let expected, let found):
            "\(path): adapter version: expected \(expected), found \(found); compile it again: `make setup-mpi`"
        case .startFailed(let reason): "MPI: \(reason)"
        case .otherSize(let processes, let size, let library):
            "\(processes), but MPI sees \(size): the adapter is for \(library), the launcher belongs to another MPI; "
                + "compile the adapter with the mpicc of the launcher: `make setup-mpi MPICC=/path/to/mpicc`"
        case .noThreads(let library):
            "\(library): tasks cannot be handed out, because it has no MPI_THREAD_MULTIPLE; use another MPI "
                + "(analyses: `analyze --shard` with `merge`)"
        case .differentOperations(let rank, let operation):
            "internal error: process \(rank) calls \(operation) while others call another function"
        }
    }
}

extension MPIError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .adapterMissing: .inputMissing
        case .adapterInvalid, .adapterVersion, .otherSize, .noThreads: .badData
        case .startFailed, .differentOperations: .internalError
        }
    }
}

/// The launcher of several processes, from the variables that it sets.
public struct MPILauncher: Equatable, Sendable {
    /// The number of processes; nil if the launcher does not say.
    public let size: Int?
    /// The number of this process, as in MPI; 0 if the launcher does not say.
    public let rank: Int

    /// The launcher of this process; nil if it was started alone, also as the only process of a launcher.
    ///
    /// - Parameter environment: variables by name.
    public init?(environment: [String: String] = ProcessInfo.processInfo.environment) {
        rank =
            ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"].lazy
            .compactMap { environment[$0].flatMap { Int($0) } }.first ?? 0
        // OpenMPI; MPICH, Intel MPI and Slurm's PMI-2.
        if let size = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"].lazy.compactMap({ environment[$0].flatMap { Int($0) } })
            .first
        {
            guard size > 1 else { return nil }
            self.size = size
        } else if environment["PMIX_RANK"] != nil {
            // Slurm's PMIx.
            let size = environment["SLURM_STEP_NUM_TASKS"].flatMap { Int($0) }
            if size == 1 { return nil }
            self.size = size
        } else {
            return nil
        }
    }

    public var description: String { size.map { "\($0) processes were started" } ?? "several processes were started" }
}

/// The loaded library.
enum MPIAdapter {
    /// Loads the adapter: the file that `BITSFUSION_MPI` names, or `bitsfusion-mpi.so` beside the program.
    ///
    /// - Throws: `MPIError`.
    static func load(
        for launcher: MPILauncher, environment: [String: String] = ProcessInfo.processInfo.environment
    ) throws(MPIError) -> UnsafeMutablePointer<bf_mpi_adapter> {
        let path = environment["BITSFUSION_MPI"].flatMap { $0.isEmpty ? nil : $0 } ?? besideProgram
        guard FileManager.default.fileExists(atPath: path) else {
            throw .adapterMissing(processes: launcher.description, path: path)
        }
        // Global, because plug-ins of some MPI libraries look for its symbols.
        guard let library = dlopen(path.contains("/") ? path : "./" + path, RTLD_NOW | RTLD_GLOBAL) else {
            throw .adapterInvalid(path: path, reason: dlerror().map { String(cString: $0) } ?? "unknown error")
        }
        guard let symbol = dlsym(library, BF_MPI_ADAPTER_FUNCTION) else {
            throw .adapterInvalid(path: path, reason: "it has no function \(BF_MPI_ADAPTER_FUNCTION)")
        }
        typealias Function = @convention(c) () -> UnsafeMutablePointer<bf_mpi_adapter>
        let adapter = unsafeBitCast(symbol, to: Function.self)()
        guard adapter.pointee.version == BF_MPI_ADAPTER_VERSION else {
            throw .adapterVersion(
                path: path, expected: Int(BF_MPI_ADAPTER_VERSION), found: Int(adapter.pointee.version))
        }
        return adapter
    }

    private static var besideProgram: String {
        let program =
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
        return PathParts(program).folder + "/bitsfusion-mpi.so"
    }
}
