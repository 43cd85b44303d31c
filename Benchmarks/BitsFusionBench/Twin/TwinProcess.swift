// SPDX-License-Identifier: Apache-2.0
// The PyTorch process: it lives as long as the run and computes in one element type. There is one process per type, so
// that peak memory is measured separately and allocations are not shared.

import Foundation

/// A running `Benchmarks/pytorch/twin.py`.
final class TwinProcess {
    let type: TwinType
    private let process = Process()
    private let requests = Pipe()
    private let answers = Pipe()
    private var received = Data()

    /// Starts Python; the first answer comes when PyTorch has been imported.
    ///
    /// - Parameters:
    ///   - python: the Python executable.
    ///   - script: `twin.py`.
    ///   - type: the element type.
    ///   - threads: the number of threads.
    /// - Throws: `BenchmarkError.noPython`, `.noTwin`.
    init(python: String, script: String, type: TwinType, threads: Int) throws {
        self.type = type
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw BenchmarkError.noPython(path: python)
        }
        guard FileManager.default.fileExists(atPath: script) else { throw BenchmarkError.noTwin(path: script) }
        process.executableURL = URL(fileURLWithPath: python)
        process.arguments = [script, "--type", type.rawValue, "--threads", String(threads)]
        process.standardInput = requests
        process.standardOutput = answers
        try process.run()
    }

    var usage: ProcessUsage { ProcessUsage(identifier: process.processIdentifier) }

    /// Sends `request` and waits for the answer.
    ///
    /// - Throws: `BenchmarkError.twinEnded`, `.twinAnswer`, `.twinFailed`.
    @discardableResult
    func ask(_ request: TwinRequest) throws -> TwinAnswer {
        do {
            try requests.fileHandleForWriting.write(
                contentsOf: JSONEncoder().encode(request) + Data("\n".utf8))
        } catch is CocoaError {
            throw ended()
        }
        let line = try nextLine()
        guard let answer = try? JSONDecoder().decode(TwinAnswer.self, from: line) else {
            throw BenchmarkError.twinAnswer(line: String(decoding: line, as: UTF8.self))
        }
        if let message = answer.error {
            let what = [request.command.rawValue, request.operation].compactMap { $0 }.joined(separator: " ")
            throw BenchmarkError.twinFailed(request: "\(what) in \(type.rawValue)", message: message)
        }
        return answer
    }

    /// Ends the process.
    func close() {
        try? requests.fileHandleForWriting.close()
        process.waitUntilExit()
    }

    private func nextLine() throws -> Data {
        while true {
            if let end = received.firstIndex(of: UInt8(ascii: "\n")) {
                let line = received[received.startIndex..<end]
                received = Data(received[received.index(after: end)...])
                return Data(line)
            }
            let more = answers.fileHandleForReading.availableData
            guard !more.isEmpty else { throw ended() }
            received.append(more)
        }
    }

    private func ended() -> BenchmarkError {
        process.waitUntilExit()
        return .twinEnded(status: process.terminationStatus)
    }
}
