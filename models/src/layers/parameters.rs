//! The tree of named parameters, walked in the order of the forward pass.

use burn::tensor::{Device, Gradients, Tensor};
use caldera_shaders::widen;

/// A parameter, by its number of dimensions.
#[derive(Debug, Clone, Copy)]
pub enum ParameterRef<'a> {
    /// A bias, or a weight of a norm.
    One(&'a Tensor<1>),
    /// A matrix or a table.
    Two(&'a Tensor<2>),
    /// A convolution's weight.
    Three(&'a Tensor<3>),
}

/// A parameter that may be replaced.
#[derive(Debug)]
pub enum ParameterMut<'a> {
    /// A bias, or a weight of a norm.
    One(&'a mut Tensor<1>),
    /// A matrix or a table.
    Two(&'a mut Tensor<2>),
    /// A convolution's weight.
    Three(&'a mut Tensor<3>),
}

/// The same expression for a tensor of any number of dimensions.
macro_rules! any_rank {
    ($type:ident, $value:expr, $tensor:ident => $body:expr) => {
        match $value {
            $type::One($tensor) => $body,
            $type::Two($tensor) => $body,
            $type::Three($tensor) => $body,
        }
    };
}

impl ParameterRef<'_> {
    /// Its shape, outermost first.
    pub fn shape(&self) -> Vec<usize> {
        any_rank!(ParameterRef, self, t => t.dims().to_vec())
    }

    /// Number of elements.
    pub fn num_elements(&self) -> usize {
        self.shape().iter().product()
    }

    /// All elements in a row as f32, on the inner device and outside of any graph.
    pub fn flat(&self) -> Tensor<1> {
        any_rank!(ParameterRef, self, t => widen((*t).clone().without_autodiff().reshape([-1])))
    }

    /// Its gradient in a row, None where the loss does not depend on it.
    pub fn grad(&self, gradients: &Gradients) -> Option<Tensor<1>> {
        any_rank!(ParameterRef, self, t => Some(t.grad(gradients)?.reshape([-1])))
    }

    /// Takes its gradient out of `gradients`, in a row; None where the loss does not depend on it.
    pub fn grad_remove(&self, gradients: &mut Gradients) -> Option<Tensor<1>> {
        any_rank!(ParameterRef, self, t => Some(t.grad_remove(gradients)?.reshape([-1])))
    }
}

impl ParameterMut<'_> {
    /// The same, for reading.
    pub fn as_ref(&self) -> ParameterRef<'_> {
        match self {
            Self::One(t) => ParameterRef::One(t),
            Self::Two(t) => ParameterRef::Two(t),
            Self::Three(t) => ParameterRef::Three(t),
        }
    }

    /// Puts new values in place; a parameter that was being trained stays so, as a fresh leaf.
    ///
    /// `values` are all elements in a row, on the inner device.
    pub fn set_flat(&mut self, values: Tensor<1>) {
        any_rank!(ParameterMut, self, t => {
            let fresh = values.without_autodiff().reshape(t.dims());
            **t = as_leaf(fresh, t.is_autodiff(), t.is_require_grad());
        });
    }

    /// Puts the parameter outside of any graph, on a plain device.
    pub(crate) fn freeze(&mut self) {
        any_rank!(ParameterMut, self, t => **t = t.clone().without_autodiff());
    }

    /// Makes it a leaf that keeps its gradient, as f32.
    pub(crate) fn make_trainable(&mut self) {
        any_rank!(ParameterMut, self, t => **t = as_leaf(widen(t.clone().without_autodiff()), true, true));
    }

    /// Puts it on the autodiff device without a gradient, as f32.
    pub(crate) fn make_constant(&mut self) {
        any_rank!(ParameterMut, self, t => **t = as_leaf(widen(t.clone().without_autodiff()), true, false));
    }

    /// Moves it; autodiff as `device` says, gradients kept only if they were.
    pub(crate) fn move_to(&mut self, device: &Device) {
        let inner = device.clone().without_autodiff();
        any_rank!(ParameterMut, self, t => {
            let kept = t.is_require_grad() && device.is_autodiff();
            **t = as_leaf(t.clone().without_autodiff().to_device(&inner), device.is_autodiff(), kept);
        });
    }
}

fn as_leaf<const D: usize>(plain: Tensor<D>, autodiff: bool, keeps_gradient: bool) -> Tensor<D> {
    match (autodiff, keeps_gradient) {
        (false, _) => plain,
        (true, false) => plain.autodiff(),
        (true, true) => plain.autodiff().require_grad(),
    }
}

/// A model seen as its parameters, in the order of the forward pass.
pub trait Parameters: Sized {
    /// Calls `visit` with every parameter under its Hugging Face name. A table that is held in blocks of rows is
    /// seen block by block, as `name[first..end]`.
    fn visit(&self, visit: &mut dyn FnMut(&str, ParameterRef<'_>));

    /// The same with parameters that may be replaced.
    fn visit_mut(&mut self, visit: &mut dyn FnMut(&str, ParameterMut<'_>));

    /// Number of values that the model holds.
    fn num_parameters(&self) -> usize {
        let mut total = 0;
        self.visit(&mut |_, parameter| total += parameter.num_elements());
        total
    }

    /// Moves every parameter. On a device with autodiff, parameters that were being trained stay so.
    fn to_device(mut self, device: &Device) -> Self {
        self.visit_mut(&mut |_, mut parameter| parameter.move_to(device));
        self
    }

    /// Every parameter as a leaf that keeps its gradient, on the autodiff device.
    fn trainable(mut self) -> Self {
        self.visit_mut(&mut |_, mut parameter| parameter.make_trainable());
        self
    }

    /// The same, but for parameters whose names `fixed` says yes to: they keep no gradient, and none is computed for them.
    fn trainable_but(mut self, fixed: impl Fn(&str) -> bool) -> Self {
        self.visit_mut(&mut |name, mut parameter| match fixed(name) {
            true => parameter.make_constant(),
            false => parameter.make_trainable(),
        });
        self
    }

    /// Every parameter on the plain device, outside of any graph: a forward pass keeps no activations.
    fn frozen(mut self) -> Self {
        self.visit_mut(&mut |_, mut parameter| parameter.freeze());
        self
    }
}

/// Something that holds parameters under names.
pub(crate) trait Walk {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>));
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>));
}

macro_rules! tensor_parameter {
    ($($rank:literal $variant:ident),*) => {$(
        impl Walk for Tensor<$rank> {
            fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
                visit(name, ParameterRef::$variant(self));
            }
            fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
                visit(name, ParameterMut::$variant(self));
            }
        }
    )*};
}
tensor_parameter!(1 One, 2 Two, 3 Three);

impl<T: Walk> Walk for Option<T> {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        if let Some(inner) = self {
            inner.walk(name, visit);
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        if let Some(inner) = self {
            inner.walk_mut(name, visit);
        }
    }
}

impl<T: Walk> Walk for Vec<T> {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        for (i, inner) in self.iter().enumerate() {
            inner.walk(&dotted(name, &i.to_string()), visit);
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        for (i, inner) in self.iter_mut().enumerate() {
            inner.walk_mut(&dotted(name, &i.to_string()), visit);
        }
    }
}

/// `a.b`, or the one that is not empty.
pub(crate) fn dotted(a: &str, b: &str) -> String {
    match (a, b) {
        ("", name) | (name, "") => name.to_string(),
        (a, b) => format!("{a}.{b}"),
    }
}

/// Gives a struct its parameters' names: field => name below the struct's own.
macro_rules! parameters {
    ($type:ty { $($field:ident => $name:literal),* $(,)? }) => {
        impl $crate::layers::Walk for $type {
            fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, $crate::layers::ParameterRef<'_>)) {
                $(self.$field.walk(&$crate::layers::dotted(name, $name), visit);)*
            }
            fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, $crate::layers::ParameterMut<'_>)) {
                $(self.$field.walk_mut(&$crate::layers::dotted(name, $name), visit);)*
            }
        }
    };
}
pub(crate) use parameters;
