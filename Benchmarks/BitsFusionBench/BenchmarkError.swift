// SPDX-License-Identifier: Apache-2.0
// What can keep the benchmarks from running.

/// A fault outside of this program.
enum BenchmarkError: Error, Equatable, CustomStringConvertible {
    /// The Python that shall run PyTorch's side is not there.
    case noPython(path: String)
    /// The twin's script is not there.
    case noTwin(path: String)
    /// The twin ended while an answer was awaited.
    case twinEnded(status: Int32)
    /// The twin's answer cannot be read.
    case twinAnswer(line: String)
    /// The twin could not do what it was asked for.
    case twinFailed(request: String, message: String)
    /// No case has a name that fits.
    case noCase(filter: String)
    /// The exact solver gave up.
    case unproven(name: String)
    /// A file of the package is not where it should be.
    case missingFile(path: String)
    /// A file is none that `--json` wrote.
    case notAReport(path: String)
    /// A file cannot be written.
    case unwritable(path: String)
    /// A document holds no place for tables.
    case noMarkers(path: String, marker: String)

    var description: String {
        switch self {
        case .noPython(let path):
            "\(path): no such program; run `make benchmark-setup`, or give --python PATH or --ours-only"
        case .noTwin(let path):
            "\(path): no such script; run from the root of the repository, or give --twin PATH"
        case .twinEnded(let status):
            "PyTorch's side ended with status \(status); its own message stands above"
        case .twinAnswer(let line):
            "PyTorch's side: expected an answer in JSON, found \"\(line.prefix(200))\"; check what the script prints"
        case .twinFailed(let request, let message):
            "PyTorch's side: \(request): \(message)"
        case .noCase(let filter):
            "--filter \(filter): no benchmark has such a name; see --list"
        case .notAReport(let path):
            "\(path): not a report that --json wrote; measure anew"
        case .unproven(let name):
            "allocation of \(name): not proven to be the best"
        case .missingFile(let path):
            "\(path): no such file; run from the root of the repository"
        case .unwritable(let path):
            "\(path): cannot be written; choose another place"
        case .noMarkers(let path, let marker):
            "\(path): expected a line \"\(marker)\" and an end marker behind it, found none; add them where the table shall stand"
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
