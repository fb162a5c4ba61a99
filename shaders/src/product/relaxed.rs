//! The tile with relaxed SIMD's fused multiply-add: half the arithmetic instructions of simd128's.
//!
//! It is a WebAssembly module of its own, because a browser without relaxed SIMD refuses a whole module for one such instruction.
//! The module works in the memory of the running one and keeps everything in locals, so there is no stack that the two could
//! dispute; its function takes a place in the running module's table, whose index is a function pointer.

use std::sync::OnceLock;

use js_sys::{Function, Object, Reflect, Uint8Array, WebAssembly};
use wasm_bindgen::{JsCast, JsValue};
use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection,
    InstructionSink, MemArg, MemoryType, Module, TypeSection, ValType,
};

use super::tiles::{TILE_COLUMNS, TILE_ROWS};

/// As `tiles::tile`: `depth` (at least 1), `a`, `b`, `to`, bytes from one row of `to` to the next, factor, 1 to add or 0.
type RelaxedTile = unsafe extern "C" fn(usize, *const f32, *const f32, *mut f32, usize, f32, i32);

/// Values of a vector, and its bytes.
const LANES: usize = 4;
const VECTOR_BYTES: usize = 16;
/// Vectors of a row of the tile.
const VECTORS: usize = TILE_COLUMNS / LANES;

/// The tile, or nothing in a browser without relaxed SIMD.
pub(super) fn tile() -> Option<RelaxedTile> {
    static TILE: OnceLock<Option<RelaxedTile>> = OnceLock::new();
    *TILE.get_or_init(|| install(&module()).ok())
}

/// Compiles the module on the running one's memory and puts its function into the running one's table.
fn install(module: &[u8]) -> Result<RelaxedTile, JsValue> {
    let environment = Object::new();
    Reflect::set(&environment, &"memory".into(), &wasm_bindgen::memory())?;
    let imports = Object::new();
    Reflect::set(&imports, &"caldera".into(), &environment)?;
    let module = WebAssembly::Module::new(&Uint8Array::from(module).into())?;
    let instance = WebAssembly::Instance::new(&module, &imports)?;
    let function: Function = Reflect::get(&instance.exports(), &"tile".into())?.dyn_into()?;
    let table: WebAssembly::Table = wasm_bindgen::function_table().dyn_into()?;
    let index = table.grow(1)?;
    table.set(index, &function)?;
    // SAFETY: a function pointer is an index into the table, and the function there has these parameters.
    Ok(unsafe { std::mem::transmute::<usize, RelaxedTile>(index as usize) })
}

/// The module: imports the memory `caldera.memory`, exports the function `tile`.
fn module() -> Vec<u8> {
    let mut types = TypeSection::new();
    let [int, real] = [ValType::I32, ValType::F32];
    types
        .ty()
        .function([int, int, int, int, int, real, int], []);
    let mut imports = ImportSection::new();
    let memory = MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    };
    imports.import("caldera", "memory", EntityType::Memory(memory));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("tile", ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(&body());
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imports)
        .section(&functions)
        .section(&exports)
        .section(&code);
    module.finish()
}

/// The function's instructions. Its sums begin at zero, as all locals do.
fn body() -> wasm_encoder::Function {
    let [depth, a, b, to, stride, factor, add] = [0, 1, 2, 3, 4, 5, 6];
    let [value, factors, mask] = [7, 8, 9];
    let column = |vector: usize| 10 + vector as u32;
    let sum = |row: usize, vector: usize| column(VECTORS + row * VECTORS + vector);
    let locals = 3 + VECTORS + TILE_ROWS * VECTORS;

    let mut body = wasm_encoder::Function::new([(locals as u32, ValType::V128)]);
    let mut code = body.instructions();
    code.loop_(BlockType::Empty);
    for vector in 0..VECTORS {
        code.local_get(b)
            .v128_load(at(vector * VECTOR_BYTES))
            .local_set(column(vector));
    }
    for row in 0..TILE_ROWS {
        code.local_get(a)
            .v128_load32_splat(at(row * size_of::<f32>()))
            .local_set(value);
        for vector in 0..VECTORS {
            code.local_get(value)
                .local_get(column(vector))
                .local_get(sum(row, vector))
                .f32x4_relaxed_madd()
                .local_set(sum(row, vector));
        }
    }
    advance(&mut code, a, TILE_ROWS * size_of::<f32>());
    advance(&mut code, b, TILE_COLUMNS * size_of::<f32>());
    code.local_get(depth)
        .i32_const(1)
        .i32_sub()
        .local_tee(depth)
        .br_if(0)
        .end();

    // Without `add` the mask clears what stands there, be it NaN.
    code.local_get(factor).f32x4_splat().local_set(factors);
    code.i32_const(0)
        .local_get(add)
        .i32_sub()
        .i32x4_splat()
        .local_set(mask);
    for row in 0..TILE_ROWS {
        for vector in 0..VECTORS {
            let place = at(vector * VECTOR_BYTES);
            code.local_get(to)
                .local_get(factors)
                .local_get(sum(row, vector))
                .local_get(to)
                .v128_load(place)
                .local_get(mask)
                .v128_and()
                .f32x4_relaxed_madd()
                .v128_store(place);
        }
        code.local_get(to).local_get(stride).i32_add().local_set(to);
    }
    code.end();
    body
}

/// Moves a pointer on by so many bytes.
fn advance(code: &mut InstructionSink<'_>, pointer: u32, bytes: usize) {
    code.local_get(pointer)
        .i32_const(bytes as i32)
        .i32_add()
        .local_set(pointer);
}

/// So many bytes behind a pointer to `f32`.
fn at(bytes: usize) -> MemArg {
    MemArg {
        offset: bytes as u64,
        align: 2,
        memory_index: 0,
    }
}
