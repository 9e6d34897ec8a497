//! The `nixactions` program.
use std::process::ExitCode;
fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|a| a == "job") {
        return nixactions::runner::main(args[2].clone().into());
    }
    if let Some(code) = nixactions::embedded::entry(&args) {
        return code;
    }
    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if args[1] == "supervise" {
        tracing_subscriber::fmt().init();
        return match rt.block_on(nixactions::supervisor::supervise(args[2].as_ref())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{e:?}");
                ExitCode::FAILURE
            }
        };
    }
    use nixactions::cli::start::*;
    let m = match args[3].to_str().unwrap() {
        "system" => Choice::Only(nixactions::unit::ManagerKind::System),
        "user" => Choice::Only(nixactions::unit::ManagerKind::User),
        "embedded" => Choice::Only(nixactions::unit::ManagerKind::Embedded),
        _ => Choice::Auto,
    };
    let t = std::time::Instant::now();
    let r = rt.block_on(start(&Request {
        plan: args[1].as_ref(),
        state_dir: args[2].as_ref(),
        manager: m,
        env: &[],
        env_files: &[],
        inputs: &[],
        source: None,
    }));
    match r {
        Err(e) => {
            eprintln!("{e:?}");
            ExitCode::FAILURE
        }
        Ok(s) => {
            println!("{} {:?}", s.run.id(), s.notes);
            while !s.run.record().exists() {
                std::thread::sleep(std::time::Duration::from_millis(2));
                if t.elapsed().as_secs() > 120 {
                    eprintln!("late");
                    break;
                }
            }
            println!("{:?}", t.elapsed());
            ExitCode::SUCCESS
        }
    }
}
