// SPDX-License-Identifier: Apache-2.0
// The detection of a launcher, and the errors before MPI is started. scripts/test_mpi.py runs real jobs.

import Files
import Testing

@testable import Communication

@Suite struct MPILauncherTests {
    @Test("launchers of several processes are found by their variables")
    func launchers() {
        #expect(MPILauncher(environment: [:]) == nil)
        #expect(MPILauncher(environment: ["OMPI_COMM_WORLD_SIZE": "4"])?.size == 4)
        #expect(MPILauncher(environment: ["PMI_SIZE": "2"])?.size == 2)
        let slurm = MPILauncher(environment: ["PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "8"])
        #expect(slurm?.size == 8)
        #expect(slurm?.description == "8 processes were started")
        let unknown = MPILauncher(environment: ["PMIX_RANK": "0"])
        #expect(unknown?.size == nil)
        #expect(unknown?.description == "several processes were started")
    }

    @Test("the only process of a launcher, and tasks of a batch job, run without MPI")
    func alone() {
        #expect(MPILauncher(environment: ["OMPI_COMM_WORLD_SIZE": "1"]) == nil)
        #expect(MPILauncher(environment: ["PMI_SIZE": "1", "PMIX_RANK": "0"]) == nil)
        #expect(MPILauncher(environment: ["PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"]) == nil)
        #expect(MPILauncher(environment: ["SLURM_NTASKS": "4", "SLURM_PROCID": "0"]) == nil)
    }

    @Test("a missing or foreign adapter is an error that says how to get one")
    func missingAdapter() throws {
        let launcher = try #require(MPILauncher(environment: ["OMPI_COMM_WORLD_SIZE": "2"]))
        let missing = #expect(throws: MPIError.self) {
            _ = try MPIAdapter.load(for: launcher, environment: ["BITSFUSION_MPI": "/nowhere/adapter.so"])
        }
        #expect(missing == .adapterMissing(processes: "2 processes were started", path: "/nowhere/adapter.so"))
        #expect(missing?.category == .inputMissing)
        #expect(missing?.description.contains("make setup-mpi") == true)
        // A file that is no library.
        let foreign = #expect(throws: MPIError.self) {
            _ = try MPIAdapter.load(for: launcher, environment: ["BITSFUSION_MPI": "/etc/passwd"])
        }
        guard case .adapterInvalid(path: "/etc/passwd", let reason) = foreign else {
            Issue.record("found \(String(describing: foreign))")
            return
        }
        #expect(!reason.isEmpty)
        #expect(foreign?.category == .badData)
    }
}

@Suite struct SingleProcessTests {
    @Test("sums of one process are its values")
    func sums() throws {
        let process: any Communicator = SingleProcess()
        #expect(process.isFirst)
        var values: [Int64] = [3, -4]
        try process.sum(&values)
        #expect(values == [3, -4])
        #expect(try process.any(true))
        #expect(try !process.any(false))
        #expect(try process.gather([1, 2]) == [[1, 2]])
        #expect(try process.difference(in: "text") == nil)
    }
}
