use std::process::ExitCode;

fn main() -> ExitCode {
    let number = std::env::args().nth(1).and_then(|text| text.parse().ok());
    match number.and_then(roman::from) {
        Some(text) => println!("{text}"),
        None => {
            eprintln!("usage: roman NUMBER, from 1 to 3999");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
