"""Hardware; may import machine and esp32."""
