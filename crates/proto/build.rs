//! Compiles `proto/` without `protoc`. The descriptor set is kept as the compiler's bytes, because prost's own types drop custom options.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::{DescriptorPool, MessageDescriptor, Value};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    find_protos(&root.join("millrace"), &mut files)?;
    files.push(root.join("google/rpc/error_details.proto"));
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    let descriptors = compiler.encode_file_descriptor_set();
    let pool = DescriptorPool::decode(descriptors.as_slice())?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), &descriptors)?;
    fs::write(out.join("impls.rs"), implementations(&pool)?)?;

    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names().bytes(["."]).skip_debug(pool.all_messages().filter(has_hidden).map(|m| path_of(&m)));
    config.compile_well_known_types().extern_path(".google.protobuf", "::prost_types");
    tonic_prost_build::configure()
        .include_file("modules.rs")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}

fn find_protos(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            find_protos(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// `impl Event` for each event, and a `Debug` that leaves secrets and personal data out, where prost's own would print them.
fn implementations(pool: &DescriptorPool) -> Result<String> {
    let mut code = String::new();
    let event = pool.get_extension_by_name("millrace.options.v1.event").ok_or("no event option")?;
    for message in pool.all_messages() {
        let options = message.options();
        if options.has_extension(&event) {
            let value = options.get_extension(&event);
            let aggregate =
                value.as_message().and_then(|m| m.get_field_by_name("aggregate")?.as_str().map(str::to_owned));
            let aggregate = aggregate.ok_or_else(|| format!("{} names no aggregate", message.full_name()))?;
            let path = rust_path(&message);
            writeln!(code, "impl crate::Event for {path} {{ const AGGREGATE: &'static str = {aggregate:?}; }}")?;
        }
        if has_hidden(&message) {
            write_debug(&mut code, &message)?;
        }
    }
    Ok(code)
}

fn write_debug(code: &mut String, message: &MessageDescriptor) -> Result<()> {
    writeln!(code, "impl ::core::fmt::Debug for {} {{", rust_path(message))?;
    writeln!(code, "  fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{")?;
    writeln!(code, "    let mut shown = f.debug_struct({:?});", message.name())?;
    for field in message.fields() {
        let test = if is_hidden(&field) { "if ::fault::without(::fault::Protection::Redaction) " } else { "" };
        writeln!(code, "    {test}{{ shown.field({0:?}, &self.r#{0}); }}", field.name())?;
    }
    writeln!(code, "    shown.finish_non_exhaustive()\n  }}\n}}")?;
    Ok(())
}

fn has_hidden(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with("millrace.") && message.fields().any(|field| is_hidden(&field))
}

fn is_hidden(field: &prost_reflect::FieldDescriptor) -> bool {
    let personal = field.parent_pool().get_extension_by_name("millrace.options.v1.personal");
    let options = field.options();
    let redacted = options.get_field_by_name("debug_redact").is_some_and(|value| *value == Value::Bool(true));
    redacted || personal.is_some_and(|personal| *options.get_extension(&personal) == Value::Bool(true))
}

fn path_of(message: &MessageDescriptor) -> String {
    format!(".{}", message.full_name())
}

/// `millrace.order.v1.Order` is `crate::millrace::order::v1::Order`. Messages with hidden fields and events are never nested.
fn rust_path(message: &MessageDescriptor) -> String {
    format!("crate::{}::{}", message.package_name().replace('.', "::"), message.name())
}
