"""The kinds of products of the synthetic shop: a table, apart from the rules that read it.

Brands and models are invented. Complements name kinds that people buy afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of product, from which several are made."""

    name: str
    department: str
    noun: str
    """How a title calls it."""
    specs: tuple[str, str, str]
    """What titles say at price level 1, 2 and 3."""
    price: float
    """Dollars at level 2."""
    products: int
    complements: tuple[str, ...] = ()
    system: str = ""
    """The kind whose brand it has to fit; its title says 'for BRAND'."""
    again: bool = False
    """Bought repeatedly."""
    models: tuple[str, ...] = ()
    """Names of its own, where series names would sound odd."""


BRANDS = {
    "Photography": ("Norvik", "Halcyon", "Optara"),
    "Gaming": ("Playdeck", "Zentrix", "Korvo"),
    "Computing": ("Lumenar", "Quillon", "Tessel", "Brava"),
    "Phones": ("Auron", "Pelio", "Brava"),
    "Audio": ("Sonarco", "Wavelet", "Brava"),
    "Television": ("Vistara", "Lumenar", "Sonarco"),
    "Smart Home": ("Hearthly", "Auron", "Casatek"),
    "Networking": ("Linkara", "Tessel", "Meshward"),
    "Wearables": ("Auron", "Pulsea", "Pelio"),
    "Accessories": ("Everlast Cell", "Cordwell", "Brava"),
}

_GAMES = (
    "Starfall Drift Racing",
    "Kingdom of Embers Role-Playing",
    "Deep Orbit Space Strategy",
    "Street Circuit Racing",
    "Shadow Harbor Adventure",
    "Goal Rush Soccer",
    "Puzzle Orchard Family",
    "Iron Vanguard Shooter",
    "Dragonmere Role-Playing",
    "Night Raiders Shooter",
    "Farmstead Days Family",
    "Rally Nordica Racing",
    "Crown and Colony Strategy",
    "Slam Court Basketball",
    "Lost Lantern Adventure",
    "Turbo Kart Party",
)

KINDS: tuple[Kind, ...] = (
    Kind("camera", "Photography", "Mirrorless Camera", ("16MP", "24MP", "45MP Full-Frame"), 750, 6,
         ("lens", "memory card", "camera bag", "tripod", "camera battery")),
    Kind("lens", "Photography", "Lens", ("50mm f/1.8", "24-70mm f/4 Zoom", "70-200mm f/2.8 Zoom"),
         480, 9, ("lens filter", "camera bag", "lens"), system="camera"),
    Kind("memory card", "Photography", "SD Memory Card", ("32GB", "128GB", "512GB V90"), 30, 6,
         ("card reader", "external drive"), again=True),
    Kind("camera bag", "Photography", "Camera Bag", ("Compact", "Shoulder", "Backpack"), 60, 6,
         ("tripod", "lens filter")),
    Kind("tripod", "Photography", "Tripod", ("Tabletop", "Aluminum", "Carbon Fiber"), 90, 6,
         ("lens filter", "memory card")),
    Kind("camera battery", "Photography", "Camera Battery", ("1000mAh", "1600mAh", "2400mAh Twin"),
         35, 6, ("memory card",), system="camera"),
    Kind("lens filter", "Photography", "Lens Filter", ("UV 58mm", "Polarizer 67mm", "ND 77mm"), 40,
         6, ("camera bag",)),
    Kind("console", "Gaming", "Game Console", ("Digital", "500GB", "1TB Pro"), 420, 6,
         ("controller", "game", "gaming headset", "charging dock")),
    Kind("controller", "Gaming", "Wireless Controller", ("Standard", "Comfort Grip", "Elite"), 65,
         9, ("game", "charging dock"), system="console"),
    Kind("game", "Gaming", "Game", ("Standard Edition", "Deluxe Edition", "Collector's Edition"),
         50, 16, ("game", "controller", "gaming headset"), system="console", models=_GAMES),
    Kind("gaming headset", "Gaming", "Gaming Headset", ("Stereo", "7.1 Surround", "Wireless 7.1"),
         80, 6, ("game",)),
    Kind("charging dock", "Gaming", "Controller Charging Dock", ("Single", "Dual", "Quad"), 28, 6,
         ("game", "batteries"), system="console"),
    Kind("laptop", "Computing", "Laptop", ("14-inch 8GB", "15-inch 16GB", "16-inch 32GB"), 900, 6,
         ("mouse", "laptop sleeve", "usb hub", "monitor", "external drive")),
    Kind("mouse", "Computing", "Wireless Mouse", ("Compact", "Ergonomic", "Precision 8K"), 35, 6,
         ("keyboard", "mouse pad")),
    Kind("keyboard", "Computing", "Keyboard", ("Membrane", "Low-Profile", "Mechanical"), 70, 6,
         ("mouse", "mouse pad", "monitor")),
    Kind("mouse pad", "Computing", "Mouse Pad", ("Small", "Large", "Desk-Size"), 15, 4,
         ("mouse",)),
    Kind("monitor", "Computing", "Monitor", ("24-inch Full HD", "27-inch QHD", "32-inch 4K"), 280,
         6, ("hdmi cable", "usb hub", "monitor arm")),
    Kind("monitor arm", "Computing", "Monitor Arm", ("Fixed", "Gas Spring", "Dual Gas Spring"), 75,
         4, ("hdmi cable",)),
    Kind("usb hub", "Computing", "USB-C Hub", ("4-Port", "7-in-1", "12-in-1 Dock"), 45, 6,
         ("external drive", "ethernet cable")),
    Kind("external drive", "Computing", "Portable SSD", ("500GB", "1TB", "4TB"), 110, 6,
         ("usb hub",)),
    Kind("laptop sleeve", "Computing", "Laptop Sleeve", ("14-inch", "15-inch", "16-inch Leather"),
         30, 5, ("mouse",)),
    Kind("printer", "Computing", "Printer", ("Inkjet", "All-in-One", "Color Laser"), 180, 6,
         ("printer ink", "printer ink")),
    Kind("printer ink", "Computing", "Ink Cartridge", ("Black", "Color", "XL Multipack"), 38, 6,
         ("printer ink",), system="printer", again=True),
    Kind("card reader", "Computing", "Memory Card Reader", ("USB-A", "USB-C", "Dual UHS-II"), 22,
         4, ("memory card",)),
    Kind("phone", "Phones", "Smartphone", ("64GB", "128GB 5G", "512GB 5G"), 600, 6,
         ("phone case", "screen protector", "charger", "earbuds", "power bank")),
    Kind("phone case", "Phones", "Phone Case", ("Clear", "Silicone", "Rugged Leather"), 22, 9,
         ("screen protector", "charger"), system="phone"),
    Kind("screen protector", "Phones", "Screen Protector",
         ("Film", "Tempered Glass", "Privacy Glass"), 14, 6, ("phone case",), system="phone",
         again=True),
    Kind("charger", "Phones", "USB-C Charger", ("20W", "45W", "100W GaN"), 30, 6,
         ("charging cable", "power bank")),
    Kind("power bank", "Phones", "Power Bank", ("5000mAh", "10000mAh", "26800mAh"), 40, 6,
         ("charging cable",)),
    Kind("headphones", "Audio", "Over-Ear Headphones", ("Wired", "Wireless", "Noise-Cancelling"),
         160, 6, ("headphone case", "bluetooth speaker")),
    Kind("earbuds", "Audio", "Wireless Earbuds", ("Basic", "Sport", "Noise-Cancelling"), 90, 6,
         ("headphone case", "charging cable")),
    Kind("headphone case", "Audio", "Headphone Case", ("Soft", "Hard", "Leather"), 20, 4,
         ("bluetooth speaker",)),
    Kind("bluetooth speaker", "Audio", "Bluetooth Speaker", ("Pocket", "Portable", "Party"), 95, 6,
         ("charging cable", "headphones")),
    Kind("television", "Television", "Smart TV", ("43-inch LED", "55-inch QLED", "65-inch OLED"),
         650, 6, ("soundbar", "streaming stick", "wall mount", "hdmi cable")),
    Kind("soundbar", "Television", "Soundbar", ("2.0", "2.1 with Subwoofer", "5.1.2 Surround"),
         260, 6, ("hdmi cable", "wall mount")),
    Kind("streaming stick", "Television", "Streaming Stick", ("HD", "4K", "4K Max"), 45, 6,
         ("hdmi cable", "batteries")),
    Kind("wall mount", "Television", "TV Wall Mount", ("Fixed", "Tilting", "Full-Motion"), 50, 4,
         ("hdmi cable",)),
    Kind("smart speaker", "Smart Home", "Smart Speaker", ("Mini", "Standard", "with Display"), 90,
         6, ("smart bulb", "smart plug", "doorbell")),
    Kind("smart bulb", "Smart Home", "Smart Light Bulb", ("White", "Color", "Color 4-Pack"), 25, 6,
         ("smart plug", "smart bulb"), again=True),
    Kind("smart plug", "Smart Home", "Smart Plug", ("Single", "2-Pack", "Outdoor"), 20, 5,
         ("smart bulb",)),
    Kind("doorbell", "Smart Home", "Video Doorbell", ("Wired", "Battery", "2K Pro"), 120, 5,
         ("security camera", "batteries")),
    Kind("security camera", "Smart Home", "Security Camera",
         ("Indoor", "Outdoor", "4K Floodlight"), 100, 6, ("memory card", "security camera")),
    Kind("router", "Networking", "Wi-Fi Router", ("AC1200", "AX3000", "BE9300 Tri-Band"), 130, 6,
         ("ethernet cable", "network switch", "range extender")),
    Kind("network switch", "Networking", "Network Switch", ("5-Port", "8-Port", "16-Port PoE"), 55,
         5, ("ethernet cable",)),
    Kind("range extender", "Networking", "Wi-Fi Range Extender", ("N300", "AC1200", "AX3000"), 60,
         5, ("smart plug",)),
    Kind("ethernet cable", "Networking", "Ethernet Cable", ("Cat 5e", "Cat 6", "Cat 8"), 14, 5,
         ("network switch",), again=True),
    Kind("smartwatch", "Wearables", "Smartwatch", ("Fitness", "GPS", "GPS Titanium"), 250, 6,
         ("watch band", "earbuds", "watch band")),
    Kind("watch band", "Wearables", "Watch Band", ("Nylon", "Silicone", "Steel"), 25, 6,
         ("watch band",), system="smartwatch"),
    Kind("hdmi cable", "Accessories", "HDMI Cable", ("3 ft", "6 ft 4K", "10 ft 8K"), 13, 5,
         ("streaming stick",), again=True),
    Kind("charging cable", "Accessories", "USB-C Charging Cable",
         ("3 ft", "6 ft", "10 ft Braided"), 12, 6, ("charger",), again=True),
    Kind("batteries", "Accessories", "AA Batteries", ("8-Pack", "24-Pack", "Rechargeable 8-Pack"),
         16, 5, ("batteries",), again=True),
)  # fmt: skip
