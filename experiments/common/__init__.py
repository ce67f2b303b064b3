"""What every experiment shares; nothing here knows what is being trained.

errors        one clear sentence instead of a traceback
devices       all cores, a mesh of devices, batches split over it
files         small files that are written whole or not at all
checkpoints   exact training state on disk: latest, best, averaged;
              leaves and checkpoint_files are its parts
metrics       learning curves as JSON lines and for TensorBoard
progress      tokens/s, loss and time left, on stderr
loop          steps, validation, saving, stopping, going on
schedules     learning rates over a run
precision     what products are computed with
settings      of a run: what they may be, what two of them differ in
timing        of several functions in turn
tables        Markdown, as the terminal shows it
machine       what a measured number depends on besides the code
interrupts    Ctrl-C and SIGTERM: finish the step, save, say how to go on
plots         learning curves and attention maps as PNG
"""
