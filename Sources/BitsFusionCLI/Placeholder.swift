import ArgumentParser

@main
struct BitsFusionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bitsfusion")
}
