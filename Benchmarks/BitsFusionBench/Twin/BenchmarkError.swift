// SPDX-License-Identifier: Apache-2.0
// Errors of the benchmark program.

/// An error in the environment of the program.
enum BenchmarkError: Error, Equatable, CustomStringConvertible {
    /// The Python executable does not exist.
    case noPython(path: String)
    /// The PyTorch script does not exist.
    case noTwin(path: String)
    /// The PyTorch process ended before it answered.
    case twinEnded(status: Int32)
    /// The answer of the PyTorch process is invalid.
    case twinAnswer(line: String)
    /// The PyTorch process reported an error.
    case twinFailed(request: String, message: String)
    /// No case matches the filter.
    case noCase(filter: String)
    /// The exact solver found no proof of optimality.
    case unproven(name: String)
    /// A file of the repository does not exist.
    case missingFile(path: String)
    /// A file was not written by `--json`.
    case notAReport(path: String)
    /// A file cannot be written.
    case unwritable(path: String)
    /// A document has no markers for a table.
    case noMarkers(path: String, marker: String)

    var description: String {
        switch self {
        case .noPython(let path):
            "\(path): no such program; run `make benchmark-setup`, or use --python PATH or --ours-only"
        case .noTwin(let path):
            "\(path): no such script; run from the root of the repository, or use --twin PATH"
        case .twinEnded(let status):
            "PyTorch process: ended with status \(status); see its message above"
        case .twinAnswer(let line):
            "PyTorch process: expected an answer in JSON, found \"\(line.prefix(200))\"; check what the script prints"
        case .twinFailed(let request, let message):
            "PyTorch process: \(request): \(message)"
        case .noCase(let filter):
            "--filter \(filter): no case matches; see --list"
        case .notAReport(let path):
            "\(path): not a report written by --json of this version; run the benchmarks again"
        case .unproven(let name):
            "allocation of \(name): optimality was not proven"
        case .missingFile(let path):
            "\(path): no such file; run from the root of the repository"
        case .unwritable(let path):
            "\(path): cannot be written; choose another path"
        case .noMarkers(let path, let marker):
            "\(path): expected a line \"\(marker)\" followed by an end marker, found none; add both lines"
        }
    }

    /// BSD's sysexits.h.
    var exitStatus: Int32 {
        switch self {
        case .noPython, .noTwin, .missingFile: 66
        case .noCase: 64
        case .noMarkers, .notAReport: 65
        case .unwritable: 73
        case .twinEnded, .twinAnswer, .twinFailed, .unproven: 70
        }
    }
}
