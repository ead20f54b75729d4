probe_stack() { :; }
stack_down() { :; }
